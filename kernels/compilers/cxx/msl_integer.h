// Metal's integer functions, element by element on every integer type and its vectors; only abs, min, max and clamp, which
// also take floats, are elsewhere (msl_math.h).
#pragma once

namespace msl {
template <class T> using unsigned_of = metal::make_unsigned_t<T>;
template <class T> constexpr int width_of = int(sizeof(T)) * 8;
#if MSL_CUDA
MSL_INLINE int count_ones(ulong x) { return ::__popcll(x); }
MSL_INLINE int leading_zeros(ulong x) { return ::__clzll((long long)x); }
MSL_INLINE int trailing_zeros(ulong x) { return ::__ffsll((long long)x) - 1; }
MSL_INLINE ulong reversed(ulong x) { return ::__brevll(x); }
MSL_INLINE long high_product(long x, long y) { return ::__mul64hi(x, y); }
MSL_INLINE ulong high_product(ulong x, ulong y) { return ::__umul64hi(x, y); }
#else
MSL_INLINE int count_ones(ulong x) { return __builtin_popcountl(x); }
MSL_INLINE int leading_zeros(ulong x) { return x ? __builtin_clzl(x) : 64; }
MSL_INLINE int trailing_zeros(ulong x) { return __builtin_ctzl(x); }
inline ulong reversed(ulong x) {
  x = (x >> 1 & 0x5555555555555555ul) | (x & 0x5555555555555555ul) << 1;
  x = (x >> 2 & 0x3333333333333333ul) | (x & 0x3333333333333333ul) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0ful) | (x & 0x0f0f0f0f0f0f0f0ful) << 4;
  return __builtin_bswap64(x);
}
MSL_INLINE long high_product(long x, long y) { return long((__int128)x * y >> 64); }
MSL_INLINE ulong high_product(ulong x, ulong y) { return ulong((unsigned __int128)x * y >> 64); }
#endif
}  // namespace msl

// An operation on integers of type T, as the statements that return it; U is T without its sign.
#define MSL_INTEGER_OP(OP, ...)                                 \
  namespace msl {                                               \
  struct OP {                                                   \
    template <class T> static MSL_INLINE T f(T x, T y = T(0)) { \
      typedef unsigned_of<T> U;                                 \
      (void)sizeof(U);                                          \
      __VA_ARGS__                                               \
    }                                                           \
  };                                                            \
  }
#define MSL_INTEGER_1(name, ...) MSL_INTEGER_OP(op_##name, __VA_ARGS__) MSL_EACH_1(op_##name, name, int_t)
#define MSL_INTEGER_2(name, ...) MSL_INTEGER_OP(op_##name, __VA_ARGS__) MSL_EACH_2(op_##name, name, int_t)

MSL_INTEGER_1(popcount, { return T(count_ones(U(x))); })
MSL_INTEGER_1(clz, { return T(leading_zeros(U(x)) - (64 - width_of<T>)); })
MSL_INTEGER_1(ctz, { return T(U(x) ? trailing_zeros(U(x)) : width_of<T>); })
MSL_INTEGER_1(reverse_bits, { return T(reversed(U(x)) >> (64 - width_of<T>)); })
MSL_INTEGER_2(rotate, {
  const int by = int(U(y)) & (width_of<T> - 1);
  return T(U(U(x) << by) | U(U(x) >> ((width_of<T> - by) & (width_of<T> - 1))));
})
MSL_INTEGER_2(mulhi, {
  typedef metal::conditional_t<metal::is_signed_v<T>, long, ulong> L;
  if constexpr (sizeof(T) == 8) return T(high_product(L(x), y));
  else return T((L(x) * y) >> width_of<T>);
})
MSL_INTEGER_2(absdiff, { return T(x < y ? U(y) - U(x) : U(x) - U(y)); })
MSL_INTEGER_2(hadd, { return T((x & y) + ((x ^ y) >> 1)); })
MSL_INTEGER_2(rhadd, { return T((x | y) - ((x ^ y) >> 1)); })
MSL_INTEGER_2(addsat, {
  typedef metal::numeric_limits<T> L;
  const T sum = T(U(x) + U(y));
  if constexpr (metal::is_signed_v<T>) return (x < 0) == (y < 0) && (sum < 0) != (x < 0) ? (x < 0 ? L::min() : L::max()) : sum;
  else return sum < x ? L::max() : sum;
})
MSL_INTEGER_2(subsat, {
  typedef metal::numeric_limits<T> L;
  const T rest = T(U(x) - U(y));
  if constexpr (metal::is_signed_v<T>) return (x < 0) != (y < 0) && (rest < 0) != (x < 0) ? (x < 0 ? L::min() : L::max()) : rest;
  else return x < y ? T(0) : rest;
})
// The low 24 bits of each, as numbers of T's sign.
MSL_INTEGER_2(mul24, { return T(T(U(x) << 8) >> 8) * T(T(U(y) << 8) >> 8); })
MSL_OF_3(mad24, int_t, R(mul24(x, y) + z))
MSL_OF_3(madhi, int_t, R(mulhi(x, y) + z))
#undef MSL_INTEGER_1
#undef MSL_INTEGER_2
#undef MSL_INTEGER_OP
#undef MSL_EACH_1
#undef MSL_EACH_2
#undef MSL_EACH_3
#undef MSL_OF_3

namespace msl {
struct op_extract_bits {
  template <class T> static MSL_INLINE T f(T x, uint offset, uint bits) {
    if (bits == 0) return T(0);
    typedef unsigned_of<T> U;
    const T up = T(U(x) << (width_of<T> - offset - bits));
    return T(up >> (width_of<T> - bits));  // arithmetic for signed T: the field's top bit is its sign
  }
};
struct op_insert_bits {
  template <class T> static MSL_INLINE T f(T base, T insert, uint offset, uint bits) {
    typedef unsigned_of<T> U;
    const U ones = bits >= uint(width_of<T>) ? U(~U(0)) : U((U(1) << bits) - 1), mask = U(ones << offset);
    return T((U(base) & U(~mask)) | (U(U(insert) << offset) & mask));
  }
};
}  // namespace msl

namespace metal {
template <class A, class R = msl::int_t<A>> MSL_INLINE R extract_bits(const A& x, uint offset, uint bits) {
  typedef msl::sized_t<uint, msl::count_of<R>> N;
  return msl::each<msl::op_extract_bits>(R(x), N(offset), N(bits));
}
template <class A, class B, class R = msl::int_t<A, B>> MSL_INLINE R insert_bits(const A& base, const B& insert, uint offset, uint bits) {
  typedef msl::sized_t<uint, msl::count_of<R>> N;
  return msl::each<msl::op_insert_bits>(R(base), R(insert), N(offset), N(bits));
}
template <class A, class B, class C, class R = msl::int_t<A, B, C>> MSL_INLINE R madsat(const A& x, const B& y, const C& z) {
  static_assert(sizeof(msl::element_t<R>) < 8 && msl::count_of<R> == 1, "madsat: scalars of at most 32 bits");
  typedef numeric_limits<R> L;
  const long exact = long(R(x)) * long(R(y)) + long(R(z));
  if constexpr (is_signed_v<R>) return exact < long(L::min()) ? L::min() : exact > long(L::max()) ? L::max() : R(exact);
  else return ulong(R(x)) * ulong(R(y)) + ulong(R(z)) > ulong(L::max()) ? L::max() : R(exact);
}
}  // namespace metal
