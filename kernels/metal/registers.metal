// Values that are told apart by an index stay in registers only where every index is known: loops over them are
// unrolled, whatever their length.

#ifdef __CUDACC__
#define MSP_UNROLL _Pragma("unroll")
#else
#define MSP_UNROLL _Pragma("clang loop unroll(full)")
#endif
