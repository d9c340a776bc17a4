// Values that are told apart by an index stay in registers only where every index is known: loops over them are
// unrolled, whatever their length, and functions that are given a pointer to them are put in place of their calls.

#ifdef __CUDACC__
#define MSP_UNROLL _Pragma("unroll")
#else
#define MSP_UNROLL _Pragma("clang loop unroll(full)")
#endif

#define MSP_INLINE inline __attribute__((always_inline))

#ifdef __CUDACC__
#define MSP_ANEW(LANE, STEP) (LANE)
#else
#define MSP_ANEW(LANE, STEP) ((LANE) + (int(STEP) == 0x7ffffffe ? 1 : 0))
#endif
