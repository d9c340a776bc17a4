// half and bfloat as classes over 16 bits: stored as Metal stores them, computed in float, rounded back (to nearest even).
// With an int the result is half, with a float it is float, as in Metal. `c ? h : 0.0f`, ambiguous in C++ for any class, is
// the translator's and msl_conditional.h's.
#pragma once

namespace msl {
#if MSL_CUDA || defined(__clang__) || __GNUC__ >= 11
#define MSL_BITS_CONSTEXPR constexpr
MSL_INLINE constexpr uint float_bits(float x) { return __builtin_bit_cast(uint, x); }
MSL_INLINE constexpr float bits_float(uint x) { return __builtin_bit_cast(float, x); }
#else
#define MSL_BITS_CONSTEXPR
MSL_INLINE uint float_bits(float x) { return bits<uint>(x); }
MSL_INLINE float bits_float(uint x) { return bits<float>(x); }
#endif

inline MSL_BITS_CONSTEXPR ushort half_from_float_portable(float value) {
  const uint x = float_bits(value), sign = x >> 16 & 0x8000u, a = x & 0x7fffffffu;
  if (a > 0x7f800000u) return ushort(sign | 0x7e00u | (a >> 13 & 0x3ffu));  // NaN stays NaN
  if (a >= 0x477ff000u) return ushort(sign | 0x7c00u);                      // rounds to 65536 or more
  if (a >= 0x38800000u) return ushort(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
  if (a < 0x33000000u) return ushort(sign);  // below half of the smallest subnormal
  const uint shift = 126u - (a >> 23), mantissa = (a & 0x7fffffu) | 0x800000u, kept = mantissa >> shift;
  const uint rest = mantissa & ((1u << shift) - 1u), middle = 1u << (shift - 1u);
  return ushort(sign | (kept + (rest > middle || (rest == middle && (kept & 1u)) ? 1u : 0u)));
}
inline MSL_BITS_CONSTEXPR float half_to_float_portable(ushort h) {
  const uint sign = uint(h & 0x8000u) << 16, e = h >> 10 & 31u, m = h & 0x3ffu;
  if (e == 31u) return bits_float(sign | 0x7f800000u | m << 13);
  if (e == 0u) return (sign ? -1.0f : 1.0f) * (float(m) * 5.9604644775390625e-8f);
  return bits_float(sign | (e + 112u) << 23 | m << 13);
}

#if MSL_CUDA
MSL_INLINE ushort half_from_float_ptx(float x) {
  ushort h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
MSL_INLINE float half_to_float_ptx(ushort h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}
MSL_INLINE constexpr ushort half_from_float(float x) {
  return __builtin_is_constant_evaluated() ? half_from_float_portable(x) : half_from_float_ptx(x);
}
MSL_INLINE constexpr float half_to_float(ushort h) {
  return __builtin_is_constant_evaluated() ? half_to_float_portable(h) : half_to_float_ptx(h);
}
#else
inline MSL_BITS_CONSTEXPR ushort half_from_float(float x) { return half_from_float_portable(x); }
inline MSL_BITS_CONSTEXPR float half_to_float(ushort h) { return half_to_float_portable(h); }
#endif

inline MSL_BITS_CONSTEXPR ushort bfloat_from_float(float value) {
  const uint x = float_bits(value);
  if ((x & 0x7fffffffu) > 0x7f800000u) return ushort(x >> 16 | 0x40u);
  return ushort((x + 0x7fffu + (x >> 16 & 1u)) >> 16);
}
inline MSL_BITS_CONSTEXPR float bfloat_to_float(ushort b) { return bits_float(uint(b) << 16); }

template <class T, class R = void> using if_integer = metal::enable_if_t<is_integer<T>, R>;
template <class T, class R = void> using if_builtin = metal::enable_if_t<is_builtin<T>, R>;
template <class T, class R = void> using if_number = metal::enable_if_t<is_number<T>, R>;
}  // namespace msl

namespace metal {
#define MSL_HALF_OPERATOR(H, op)                                                                                              \
  friend MSL_INLINE MSL_BITS_CONSTEXPR H operator op(H a, H b) { return H(float(a) op float(b)); }                            \
  friend MSL_INLINE MSL_BITS_CONSTEXPR float operator op(H a, float b) { return float(a) op b; }                              \
  friend MSL_INLINE MSL_BITS_CONSTEXPR float operator op(float a, H b) { return a op float(b); }                              \
  template <class T> friend MSL_INLINE MSL_BITS_CONSTEXPR msl::if_integer<T, H> operator op(H a, T b) { return a op H(b); }   \
  template <class T> friend MSL_INLINE MSL_BITS_CONSTEXPR msl::if_integer<T, H> operator op(T a, H b) { return H(a) op b; }   \
  template <class T> MSL_INLINE msl::if_number<T, H&> operator op##=(T b) { return *this = H(*this op b); }
#define MSL_HALF_COMPARISON(H, op)                                                                                            \
  friend MSL_INLINE MSL_BITS_CONSTEXPR bool operator op(H a, H b) { return float(a) op float(b); }                            \
  template <class T> friend MSL_INLINE MSL_BITS_CONSTEXPR msl::if_builtin<T, bool> operator op(H a, T b) { return float(a) op float(b); } \
  template <class T> friend MSL_INLINE MSL_BITS_CONSTEXPR msl::if_builtin<T, bool> operator op(T a, H b) { return float(a) op float(b); }
#define MSL_HALF_CLASS(H, other)                                                                                              \
  struct alignas(2) H {                                                                                                       \
    ushort msl_bits;                                                                                                          \
    H() = default;                                                                                                            \
    template <class T, class = msl::if_builtin<T>> MSL_INLINE MSL_BITS_CONSTEXPR H(T x) : msl_bits(msl::H##_from_float(float(x))) {} \
    explicit MSL_INLINE MSL_BITS_CONSTEXPR H(other x);                                                                        \
    MSL_INLINE MSL_BITS_CONSTEXPR operator float() const { return msl::H##_to_float(msl_bits); }                              \
    MSL_HALF_OPERATOR(H, +) MSL_HALF_OPERATOR(H, -) MSL_HALF_OPERATOR(H, *) MSL_HALF_OPERATOR(H, /)                           \
    MSL_HALF_COMPARISON(H, ==) MSL_HALF_COMPARISON(H, !=) MSL_HALF_COMPARISON(H, <) MSL_HALF_COMPARISON(H, <=)                \
    MSL_HALF_COMPARISON(H, >) MSL_HALF_COMPARISON(H, >=)                                                                      \
    friend MSL_INLINE MSL_BITS_CONSTEXPR H operator+(H a) { return a; }                                                       \
    friend MSL_INLINE MSL_BITS_CONSTEXPR H operator-(H a) { return H(-float(a)); }                                            \
    MSL_INLINE H& operator++() { return *this = *this + 1; }                                                                  \
    MSL_INLINE H& operator--() { return *this = *this - 1; }                                                                  \
    MSL_INLINE H operator++(int) { H old = *this; ++*this; return old; }                                                      \
    MSL_INLINE H operator--(int) { H old = *this; --*this; return old; }                                                      \
  };
MSL_HALF_CLASS(half, bfloat)
MSL_HALF_CLASS(bfloat, half)
MSL_INLINE MSL_BITS_CONSTEXPR half::half(bfloat x) : half(float(x)) {}
MSL_INLINE MSL_BITS_CONSTEXPR bfloat::bfloat(half x) : bfloat(float(x)) {}
// With both in one expression the result is float, as between any two formats of which neither contains the other.
#define MSL_HALF_MIXED(op)                                                                                     \
  MSL_INLINE MSL_BITS_CONSTEXPR auto operator op(half a, bfloat b) { return float(a) op float(b); }            \
  MSL_INLINE MSL_BITS_CONSTEXPR auto operator op(bfloat a, half b) { return float(a) op float(b); }
MSL_HALF_MIXED(+) MSL_HALF_MIXED(-) MSL_HALF_MIXED(*) MSL_HALF_MIXED(/) MSL_HALF_MIXED(==) MSL_HALF_MIXED(!=)
MSL_HALF_MIXED(<) MSL_HALF_MIXED(<=) MSL_HALF_MIXED(>) MSL_HALF_MIXED(>=)
#undef MSL_HALF_MIXED
#undef MSL_HALF_CLASS
#undef MSL_HALF_COMPARISON
#undef MSL_HALF_OPERATOR
}  // namespace metal

using metal::bfloat;
using metal::half;
