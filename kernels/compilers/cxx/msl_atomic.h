// Atomics on device and threadgroup memory: GCC's builtins on the CPU, where threadgroups run on several cores, atomicAdd and
// its family on NVRTC. Every order is taken as relaxed, the only one Metal has before 4.0 apart from fences.
#pragma once

namespace metal {
template <class T> struct atomic {
  T msl_value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<float> atomic_float;
typedef atomic<ulong> atomic_ulong;
}  // namespace metal

namespace msl {
template <class T> struct word_of { typedef T type; };
template <> struct word_of<float> { typedef uint type; };
template <> struct word_of<bool> { typedef uchar type; };
template <class T> using word_t = typename word_of<T>::type;

#if MSL_CUDA
// CUDA compares and swaps 32 or 64 bits.
MSL_INLINE uint compare_and_swap(volatile uint* p, uint expected, uint desired) { return ::atomicCAS((uint*)p, expected, desired); }
MSL_INLINE int compare_and_swap(volatile int* p, int expected, int desired) { return ::atomicCAS((int*)p, expected, desired); }
MSL_INLINE ulong compare_and_swap(volatile ulong* p, ulong expected, ulong desired) {
  return ::atomicCAS((unsigned long long*)p, (unsigned long long)expected, (unsigned long long)desired);
}
MSL_INLINE uchar compare_and_swap(volatile uchar* p, uchar expected, uchar desired) {
  const uint shift = uint(ulong(p) & 3u) * 8u;
  uint* word = (uint*)(ulong(p) & ~3ul);
  uint seen = *(volatile uint*)word;
  for (;;) {  // until the byte differs or the word, with the other bytes as they were, could be swapped
    if (uchar(seen >> shift) != expected) return uchar(seen >> shift);
    const uint now = ::atomicCAS(word, seen, (seen & ~(255u << shift)) | uint(desired) << shift);
    if (now == seen) return expected;
    seen = now;
  }
}
template <class T> MSL_INLINE T load(const volatile T* p) { return *p; }
#else
template <class T> MSL_INLINE T compare_and_swap(volatile T* p, T expected, T desired) {
  __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T> MSL_INLINE T load(const volatile T* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
#endif

// Replaces *p by change(*p) and gives back what was there.
template <class T, class Change, class W = word_t<T>> MSL_INLINE T update(volatile metal::atomic<T>* p, Change change) {
  volatile W* word = (volatile W*)p;
  W seen = load(word);
  for (;;) {
    const W now = compare_and_swap(word, seen, bits<W>(change(bits<T>(seen))));
    if (now == seen) return bits<T>(seen);
    seen = now;
  }
}
}  // namespace msl

namespace metal {
template <class T> MSL_INLINE T atomic_load_explicit(const volatile atomic<T>* p, memory_order) {
  return msl::bits<T>(msl::load((const volatile msl::word_t<T>*)p));
}
template <class T, class W = msl::word_t<T>> MSL_INLINE void atomic_store_explicit(volatile atomic<T>* p, msl::same_t<T> value, memory_order) {
#if MSL_CUDA
  *(volatile W*)p = msl::bits<W>(value);
#else
  __atomic_store_n((volatile W*)p, msl::bits<W>(value), __ATOMIC_RELAXED);
#endif
}
template <class T> MSL_INLINE T atomic_exchange_explicit(volatile atomic<T>* p, msl::same_t<T> value, memory_order) {
  return msl::update(p, [=](T) { return value; });
}
template <class T, class W = msl::word_t<T>>
MSL_INLINE bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* p, msl::same_t<T>* expected, msl::same_t<T> desired,
                                                      memory_order, memory_order) {
  const W wanted = msl::bits<W>(*expected), seen = msl::compare_and_swap((volatile W*)p, wanted, msl::bits<W>(desired));
  *expected = msl::bits<T>(seen);
  return seen == wanted;
}

// A hardware instruction where there is one for T, otherwise a loop of compare and swap.
#if MSL_CUDA
#define MSL_FETCH(name, cuda, has_hardware, ...)                                                                          \
  template <class T> MSL_INLINE T atomic_fetch_##name##_explicit(volatile atomic<T>* p, msl::same_t<T> y, memory_order) { \
    if constexpr (is_same_v<T, int> || is_same_v<T, uint> || (has_hardware)) return T(::cuda((T*)p, y));                  \
    else if constexpr (is_same_v<T, ulong>) return T(::cuda((unsigned long long*)p, (unsigned long long)y));              \
    else return msl::update(p, [=](T x) { return T(__VA_ARGS__); });                                                      \
  }
#else
#define MSL_FETCH(name, cuda, has_hardware, ...)                                                                          \
  template <class T> MSL_INLINE T atomic_fetch_##name##_explicit(volatile atomic<T>* p, msl::same_t<T> y, memory_order) { \
    return msl::update(p, [=](T x) { return T(__VA_ARGS__); });                                                           \
  }
#endif
MSL_FETCH(add, atomicAdd, (is_same_v<T, float>), x + y)
MSL_FETCH(min, atomicMin, false, y < x ? y : x)
MSL_FETCH(max, atomicMax, false, x < y ? y : x)
MSL_FETCH(and, atomicAnd, false, x & y)
MSL_FETCH(or, atomicOr, false, x | y)
MSL_FETCH(xor, atomicXor, false, x ^ y)
#undef MSL_FETCH
template <class T> MSL_INLINE T atomic_fetch_sub_explicit(volatile atomic<T>* p, msl::same_t<T> y, memory_order order) {
  return atomic_fetch_add_explicit(p, T(-y), order);
}
// atomic_ulong's min and max without a result
template <class T> MSL_INLINE void atomic_min_explicit(volatile atomic<T>* p, msl::same_t<T> y, memory_order order) { atomic_fetch_min_explicit(p, y, order); }
template <class T> MSL_INLINE void atomic_max_explicit(volatile atomic<T>* p, msl::same_t<T> y, memory_order order) { atomic_fetch_max_explicit(p, y, order); }

MSL_INLINE void atomic_thread_fence(mem_flags, memory_order = memory_order_seq_cst, thread_scope = thread_scope_device) {
#if MSL_CUDA
  ::__threadfence();
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
}  // namespace metal
