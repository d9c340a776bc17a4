// Values that are told apart by an index stay in registers only where every index is known: loops over them are
// unrolled (MSP_UNROLL), whatever their length, and functions that are given a pointer to them are put in place of their calls.

#ifdef __CUDACC__
#define MSP_NVIDIA true
#define MSP_UNROLL _Pragma("unroll")
#define MSP_ROLLED _Pragma("unroll 1")
#else
#define MSP_NVIDIA false
#define MSP_UNROLL _Pragma("clang loop unroll(full)")
#define MSP_ROLLED _Pragma("clang loop unroll(disable)")
#endif

#define MSP_INLINE inline __attribute__((always_inline))

// NUMBER (a lane's, say), but another one for every STEP as far as a compiler can tell: LLVM would make the addresses
// of a whole frame before the loop over frames, or once for all parts of a frame, and keep them in more registers than
// there are. Parts of a frame that share no addresses have steps of their own: step, step + 1, ... (No step is
// 0x7ffffffe.) NVIDIA's compiler does not need it.
#define MSP_ANEW(NUMBER, STEP) ((NUMBER) + (!MSP_NVIDIA && int(STEP) == 0x7ffffffe ? 1 : 0))
