// Constants, numeric_limits and the floating point functions, element by element on float, half, bfloat and their vectors.
// half and bfloat are computed in float and rounded once. metal::fast is metal::precise: never less exact than Metal's.
#pragma once

#if MSL_CUDA
#define MSL_INFINITY __int_as_float(0x7f800000)
#define MSL_NAN __int_as_float(0x7fc00000)
#else
#define MSL_INFINITY __builtin_inff()
#define MSL_NAN __builtin_nanf("")
#endif

// Macros as in Metal; the C library's of the same name mean the same.
#define MAXFLOAT FLT_MAX
#ifndef INFINITY
#define INFINITY MSL_INFINITY
#endif
#ifndef NAN
#define NAN MSL_NAN
#endif
#ifndef HUGE_VALF
#define HUGE_VALF MSL_INFINITY
#endif
#define HUGE_VALH half(MSL_INFINITY)
#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define FLT_MAX_10_EXP 38
#define FLT_MAX_EXP 128
#define FLT_MIN_10_EXP (-37)
#define FLT_MIN_EXP (-125)
#define FLT_RADIX 2
#define FLT_MAX 0x1.fffffep127f
#define FLT_MIN 0x1.0p-126f
#define FLT_EPSILON 0x1.0p-23f
#define FLT_TRUE_MIN 0x1.0p-149f
#define HALF_DIG 3
#define HALF_MANT_DIG 11
#define HALF_MAX half(65504.0f)
#define HALF_MIN half(0x1.0p-14f)
#define HALF_EPSILON half(0x1.0p-10f)
#ifndef CHAR_BIT
#define CHAR_BIT 8
#endif
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define SCHAR_MAX 127
#define SCHAR_MIN (-128)
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 0xffffffffu
#define LONG_MAX 0x7fffffffffffffffl
#define LONG_MIN (-LONG_MAX - 1)
#define ULONG_MAX 0xfffffffffffffffful
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.43429448190325182765f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.78539816339744830962f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_PI_F 0.63661977236758134308f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define M_E_H half(M_E_F)
#define M_PI_H half(M_PI_F)
#define M_PI_2_H half(M_PI_2_F)
#define M_SQRT2_H half(M_SQRT2_F)

namespace metal {
template <class T> struct numeric_limits {
  static constexpr bool is_specialized = msl::is_number<T>, is_integer = true, has_infinity = false;
  static constexpr bool is_signed = T(-1) < T(0);
  static constexpr int digits = int(sizeof(T)) * 8 - (is_signed ? 1 : 0);
  static constexpr T max() { return is_signed ? T(~(ulong(1) << (sizeof(T) * 8 - 1))) & T(~ulong(0) >> (65 - sizeof(T) * 8)) : T(~ulong(0)); }
  static constexpr T min() { return T(-max() - 1) < T(0) ? T(-max() - 1) : T(0); }
  static constexpr T lowest() { return min(); }
};
template <class T> struct numeric_limits<const T> : numeric_limits<T> {};
template <> struct numeric_limits<bool> {
  static constexpr bool is_specialized = true, is_integer = true, is_signed = false, has_infinity = false;
  static constexpr int digits = 1;
  static constexpr bool max() { return true; }
  static constexpr bool min() { return false; }
  static constexpr bool lowest() { return false; }
};
#define MSL_FLOAT_LIMITS(T, DIGITS, MAX, MIN, EPSILON, SUBNORMAL)                                           \
  template <> struct numeric_limits<T> {                                                                    \
    static constexpr bool is_specialized = true, is_integer = false, is_signed = true, has_infinity = true; \
    static constexpr bool has_quiet_NaN = true;                                                             \
    static constexpr int digits = DIGITS;                                                                   \
    static MSL_BITS_CONSTEXPR T max() { return T(MAX); }                                                    \
    static MSL_BITS_CONSTEXPR T min() { return T(MIN); }                                                    \
    static MSL_BITS_CONSTEXPR T lowest() { return T(-(MAX)); }                                              \
    static MSL_BITS_CONSTEXPR T epsilon() { return T(EPSILON); }                                            \
    static MSL_BITS_CONSTEXPR T denorm_min() { return T(SUBNORMAL); }                                       \
    static MSL_BITS_CONSTEXPR T infinity() { return T(msl::bits_float(0x7f800000u)); }                      \
    static MSL_BITS_CONSTEXPR T quiet_NaN() { return T(msl::bits_float(0x7fc00000u)); }                     \
    static MSL_BITS_CONSTEXPR T signaling_NaN() { return quiet_NaN(); }                                     \
  };
MSL_FLOAT_LIMITS(float, 24, FLT_MAX, FLT_MIN, FLT_EPSILON, FLT_TRUE_MIN)
MSL_FLOAT_LIMITS(half, 11, 65504.0f, 0x1.0p-14f, 0x1.0p-10f, 0x1.0p-24f)
MSL_FLOAT_LIMITS(bfloat, 8, 0x1.fep127f, 0x1.0p-126f, 0x1.0p-7f, 0x1.0p-133f)
#undef MSL_FLOAT_LIMITS
}  // namespace metal

namespace msl {
// --- the type a function computes in --------------------------------------------------------------------------------
template <class A> using value_t = metal::enable_if_t<(count_of<A> > 0), typename shape<A>::value>;
template <class A> using element_t = typename shape<A>::element;
template <class E, int N> struct sized { typedef metal::vec<E, N> type; };
template <class E> struct sized<E, 1> { typedef E type; };
template <class E, int N> using sized_t = typename sized<E, N>::type;

// Of two scalars the type C++ arithmetic gives, with half between the integers and float; equal types stay as they are.
template <class A, class B> struct wider {
  static constexpr bool same = metal::is_same<A, B>::value, floats = is_floating<A> && is_floating<B>;
  typedef metal::conditional_t<same, A, metal::conditional_t<floats, float, metal::conditional_t<is_floating<A>, A, B>>> floating_type;
  static auto pick() {
    if constexpr (is_floating<A> || is_floating<B> || same) return floating_type();
    else return A() + B();
  }
  typedef decltype(pick()) type;
};
// Of scalars and vectors: a vector keeps its element type, scalars beside it follow.
template <class A, class B, class = void> struct common {};
template <class A, class B> struct common<A, B, metal::enable_if_t<count_of<A> == 1 && count_of<B> == 1>> : wider<element_t<A>, element_t<B>> {};
template <class A, class B> struct common<A, B, metal::enable_if_t<(count_of<A> > 1 && count_of<B> == 1)>> { typedef value_t<A> type; };
template <class A, class B> struct common<A, B, metal::enable_if_t<(count_of<A> == 1 && count_of<B> > 1)>> { typedef value_t<B> type; };
template <class A, class B> struct common<A, B, metal::enable_if_t<(count_of<A> > 1 && count_of<A> == count_of<B>)>>
    : metal::enable_if<metal::is_same<value_t<A>, value_t<B>>::value, value_t<A>> {};
template <class A, class B> using pair_t = typename common<value_t<A>, value_t<B>>::type;
template <class A, class B = A, class C = B> using common_t = pair_t<pair_t<A, B>, C>;
// The same, with integers turned to float: what the floating point functions take.
template <class V> using floating_t = metal::conditional_t<is_floating<element_t<V>>, V, sized_t<float, count_of<V>>>;
template <class A, class B = A, class C = B> using float_t = floating_t<common_t<A, B, C>>;
// Integers only.
template <class V> using integral_t = metal::enable_if_t<is_integer<element_t<V>>, V>;
template <class A, class B = A, class C = B> using int_t = integral_t<common_t<A, B, C>>;

// --- element by element ----------------------------------------------------------------------------------------------
template <class Op, class... A> MSL_INLINE auto each(const A&... a) {
  constexpr int n = (count_of<A> + ...) / int(sizeof...(A));
  if constexpr (n == 1) return Op::f(a...);
  else {
    typedef decltype(Op::f(a.x...)) R;
    if constexpr (n == 2) return metal::vec<R, 2>(Op::f(a.x...), Op::f(a.y...));
    else if constexpr (n == 3) return metal::vec<R, 3>(Op::f(a.x...), Op::f(a.y...), Op::f(a.z...));
    else return metal::vec<R, 4>(Op::f(a.x...), Op::f(a.y...), Op::f(a.z...), Op::f(a.w...));
  }
}
}  // namespace msl

// name(a, ...): msl::OP on every element of the arguments as TYPE, one of the types above, has them.
#define MSL_EACH_1(OP, name, TYPE)                                                                                 \
  namespace metal {                                                                                                \
  template <class A, class R = msl::TYPE<A>> MSL_INLINE auto name(const A& x) { return msl::each<msl::OP>(R(x)); } \
  }
#define MSL_EACH_2(OP, name, TYPE)                                                                      \
  namespace metal {                                                                                     \
  template <class A, class B, class R = msl::TYPE<A, B>> MSL_INLINE auto name(const A& x, const B& y) { \
    return msl::each<msl::OP>(R(x), R(y));                                                              \
  }                                                                                                     \
  }
#define MSL_EACH_3(OP, name, TYPE)                                                                          \
  namespace metal {                                                                                         \
  template <class A, class B, class C, class R = msl::TYPE<A, B, C>>                                        \
  MSL_INLINE auto name(const A& x, const B& y, const C& z) { return msl::each<msl::OP>(R(x), R(y), R(z)); } \
  }
// name(a, b, c) as an expression of x, y, z: the arguments as TYPE has them.
#define MSL_OF_3(name, TYPE, ...)                                                                                            \
  namespace metal {                                                                                                          \
  template <class A, class B, class C, class R = msl::TYPE<A, B, C>> MSL_INLINE R name(const A& a, const B& b, const C& c) { \
    const R x = R(a), y = R(b), z = R(c);                                                                                    \
    return __VA_ARGS__;                                                                                                      \
  }                                                                                                                          \
  }

// An operation given as a float expression of x, y, z; half and bfloat go through float.
#define MSL_FLOAT_OP(OP, ...)                                                                                                   \
  namespace msl {                                                                                                               \
  struct OP {                                                                                                                   \
    static MSL_INLINE float compute(float x, float y = 0, float z = 0) { return __VA_ARGS__; }                                  \
    template <class T, class... More> static MSL_INLINE T f(T x, More... more) { return T(compute(float(x), float(more)...)); } \
  };                                                                                                                            \
  }
#define MSL_TRUTH_OP(OP, ...)                                              \
  namespace msl {                                                          \
  struct OP {                                                              \
    static MSL_INLINE bool f(float x, float y = 0) { return __VA_ARGS__; } \
  };                                                                       \
  }
#define MSL_FLOAT_1(name, ...) MSL_FLOAT_OP(op_##name, __VA_ARGS__) MSL_EACH_1(op_##name, name, float_t)
#define MSL_FLOAT_2(name, ...) MSL_FLOAT_OP(op_##name, __VA_ARGS__) MSL_EACH_2(op_##name, name, float_t)
#define MSL_FLOAT_3(name, ...) MSL_FLOAT_OP(op_##name, __VA_ARGS__) MSL_EACH_3(op_##name, name, float_t)
#define MSL_TRUTH_1(name, ...) MSL_TRUTH_OP(op_##name, __VA_ARGS__) MSL_EACH_1(op_##name, name, float_t)
#define MSL_TRUTH_2(name, ...) MSL_TRUTH_OP(op_##name, __VA_ARGS__) MSL_EACH_2(op_##name, name, float_t)
// The C library's function of the same name.
#define MSL_LIBM_1(name) MSL_FLOAT_OP(op_##name, MSL_LIBM(name##f)(x)) MSL_EACH_1(op_##name, name, float_t)
#define MSL_LIBM_2(name) MSL_FLOAT_OP(op_##name, MSL_LIBM(name##f)(x, y)) MSL_EACH_2(op_##name, name, float_t)

MSL_LIBM_1(sin) MSL_LIBM_1(cos) MSL_LIBM_1(tan) MSL_LIBM_1(asin) MSL_LIBM_1(acos) MSL_LIBM_1(atan)
MSL_LIBM_1(sinh) MSL_LIBM_1(cosh) MSL_LIBM_1(tanh) MSL_LIBM_1(asinh) MSL_LIBM_1(acosh) MSL_LIBM_1(atanh)
MSL_LIBM_1(exp) MSL_LIBM_1(exp2) MSL_LIBM_1(log) MSL_LIBM_1(log2) MSL_LIBM_1(log10) MSL_LIBM_1(sqrt)
MSL_LIBM_1(floor) MSL_LIBM_1(ceil) MSL_LIBM_1(round) MSL_LIBM_1(rint) MSL_LIBM_1(trunc) MSL_LIBM_1(fabs)
MSL_LIBM_2(pow) MSL_LIBM_2(atan2) MSL_LIBM_2(fmod) MSL_LIBM_2(copysign) MSL_LIBM_2(fdim) MSL_LIBM_2(fmin)
MSL_LIBM_2(fmax) MSL_LIBM_2(nextafter)
#if MSL_CUDA
namespace msl {
MSL_INLINE float rsqrt_of_normal(float x) {  // as Metal allows: what is too small for a normal number counts as zero
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
}
MSL_FLOAT_1(exp10, ::exp10f(x))
MSL_FLOAT_1(rsqrt, msl::rsqrt_of_normal(x))
MSL_FLOAT_1(sinpi, ::sinpif(x))
MSL_FLOAT_1(cospi, ::cospif(x))
#else
MSL_FLOAT_1(exp10, (float)__builtin_pow(10.0, (double)x))
MSL_FLOAT_1(rsqrt, (float)(1.0 / __builtin_sqrt((double)x)))
MSL_FLOAT_1(sinpi, (float)__builtin_sin(3.14159265358979323846 * __builtin_fmod((double)x, 2.0)))
MSL_FLOAT_1(cospi, (float)__builtin_cos(3.14159265358979323846 * __builtin_fmod((double)x, 2.0)))
#endif
MSL_FLOAT_1(tanpi, op_sinpi::compute(x) / op_cospi::compute(x))
MSL_FLOAT_1(fract, x != x ? x : MSL_LIBM(fminf)(x - MSL_LIBM(floorf)(x), 0x1.fffffep-1f))
MSL_FLOAT_1(sign, x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? x : 0.0f)
MSL_FLOAT_1(saturate, MSL_LIBM(fminf)(MSL_LIBM(fmaxf)(x, 0.0f), 1.0f))
MSL_TRUTH_1(isnan, x != x)
MSL_TRUTH_1(isinf, MSL_LIBM(fabsf)(x) == MSL_INFINITY)
MSL_TRUTH_1(isfinite, MSL_LIBM(fabsf)(x) < MSL_INFINITY)
MSL_TRUTH_1(isnormal, MSL_LIBM(fabsf)(x) < MSL_INFINITY && MSL_LIBM(fabsf)(x) >= FLT_MIN)
MSL_TRUTH_1(signbit, (float_bits(x) >> 31) != 0)
MSL_TRUTH_2(isordered, x == x && y == y)
MSL_TRUTH_2(isunordered, x != x || y != y)

MSL_FLOAT_2(powr, x < 0.0f ? MSL_NAN : MSL_LIBM(powf)(x, y))
MSL_FLOAT_2(step, y < x ? 0.0f : 1.0f)
MSL_FLOAT_3(fma, MSL_LIBM(fmaf)(x, y, z))
MSL_FLOAT_3(mix, x + (y - x) * z)
MSL_FLOAT_3(smoothstep, op_saturate::compute((z - x) / (y - x)) * op_saturate::compute((z - x) / (y - x)) *
                            (3.0f - 2.0f * op_saturate::compute((z - x) / (y - x))))
#undef MSL_FLOAT_1
#undef MSL_FLOAT_2
#undef MSL_FLOAT_3
#undef MSL_TRUTH_1
#undef MSL_TRUTH_2
#undef MSL_LIBM_1
#undef MSL_LIBM_2
#undef MSL_FLOAT_OP
#undef MSL_TRUTH_OP

namespace msl {
struct op_min {
  template <class T> static MSL_INLINE T f(T x, T y) {
    if constexpr (is_floating<T>) return op_fmin::f(x, y);
    else return y < x ? y : x;
  }
};
struct op_max {
  template <class T> static MSL_INLINE T f(T x, T y) {
    if constexpr (is_floating<T>) return op_fmax::f(x, y);
    else return x < y ? y : x;
  }
};
struct op_abs {
  template <class T> static MSL_INLINE T f(T x) {
    if constexpr (is_floating<T>) return op_fabs::f(x);
    else return x < T(0) ? T(-x) : x;
  }
};
struct op_select {
  template <class T, class C> static MSL_INLINE T f(T x, T y, C c) { return c ? y : x; }
};
struct op_ldexp {
  template <class T> static MSL_INLINE T f(T x, int e) { return T(MSL_LIBM(ldexpf)(float(x), e)); }
};
struct op_ilogb {
  static MSL_INLINE int f(float x) { return MSL_LIBM(ilogbf)(x); }
};
// Calls Op::f(x's element, y's element) where y is written to.
template <class Op, class V, class W> MSL_INLINE V each_with_output(const V& x, W& y) {
  if constexpr (count_of<V> == 1) return Op::f(x, y);
  else {
    V r;
    for (int i = 0; i < count_of<V>; ++i) r[i] = Op::f(x[i], y[i]);
    return r;
  }
}
struct op_modf {
  template <class T> static MSL_INLINE T f(T x, T& whole) {
    const float w = MSL_LIBM(truncf)(float(x));
    whole = T(w);
    return T(MSL_LIBM(copysignf)(MSL_LIBM(fabsf)(float(x)) == MSL_INFINITY ? 0.0f : float(x) - w, float(x)));
  }
};
struct op_frexp {
  template <class T> static MSL_INLINE T f(T x, int& e) { return T(MSL_LIBM(frexpf)(float(x), &e)); }
};
struct op_sincos {
  template <class T> static MSL_INLINE T f(T x, T& c) {
    c = op_cos::f(x);
    return op_sin::f(x);
  }
};
}  // namespace msl

MSL_EACH_2(op_min, min, common_t)
MSL_EACH_2(op_max, max, common_t)
MSL_EACH_1(op_abs, abs, common_t)
MSL_EACH_1(op_ilogb, ilogb, float_t)
MSL_OF_3(clamp, common_t, min(max(x, y), z))
MSL_OF_3(min3, common_t, min(min(x, y), z))
MSL_OF_3(max3, common_t, max(max(x, y), z))
MSL_OF_3(median3, common_t, max(min(x, y), min(max(x, y), z)))
MSL_OF_3(mad, float_t, fma(x, y, z))

namespace metal {
template <class A, class R = msl::float_t<A>, class E = msl::sized_t<int, msl::count_of<R>>>
MSL_INLINE R ldexp(const A& x, const msl::same_t<E>& e) { return msl::each<msl::op_ldexp>(R(x), e); }
template <class A, class R = msl::float_t<A>> MSL_INLINE R modf(const A& x, R& whole) { return msl::each_with_output<msl::op_modf>(R(x), whole); }
template <class A, class R = msl::float_t<A>, class E = msl::sized_t<int, msl::count_of<R>>>
MSL_INLINE R frexp(const A& x, msl::same_t<E>& e) { return msl::each_with_output<msl::op_frexp>(R(x), e); }
template <class A, class R = msl::float_t<A>> MSL_INLINE R sincos(const A& x, R& cosine) { return msl::each_with_output<msl::op_sincos>(R(x), cosine); }

// select(a, b, c): b where c is true
template <class A, class B, class R = msl::common_t<A, B>> MSL_INLINE R select(const A& x, const B& y, bool c) { return c ? R(y) : R(x); }
template <class A, class B, class C, class R = msl::common_t<A, B>, class = enable_if_t<(msl::count_of<C> > 1)>>
MSL_INLINE R select(const A& x, const B& y, const C& c) { return msl::each<msl::op_select>(R(x), R(y), msl::value_t<C>(c)); }
MSL_INLINE bool any(bool x) { return x; }
MSL_INLINE bool all(bool x) { return x; }
MSL_INLINE bool any(const bool2& v) { return v.x || v.y; }
MSL_INLINE bool all(const bool2& v) { return v.x && v.y; }
MSL_INLINE bool any(const bool3& v) { return v.x || v.y || v.z; }
MSL_INLINE bool all(const bool3& v) { return v.x && v.y && v.z; }
MSL_INLINE bool any(const bool4& v) { return v.x || v.y || v.z || v.w; }
MSL_INLINE bool all(const bool4& v) { return v.x && v.y && v.z && v.w; }

// --- geometry: sums in float, rounded once ---------------------------------------------------------------------------
template <class A, class B, class R = msl::common_t<A, B>, class = enable_if_t<(msl::count_of<R> > 1)>>
MSL_INLINE msl::element_t<R> dot(const A& x, const B& y) {
  const R a = R(x), b = R(y);
  typedef conditional_t<msl::is_floating<msl::element_t<R>>, float, msl::element_t<R>> S;
  S s = S(a.x) * S(b.x) + S(a.y) * S(b.y);
  if constexpr (msl::count_of<R> > 2) s += S(a.z) * S(b.z);
  if constexpr (msl::count_of<R> > 3) s += S(a.w) * S(b.w);
  return msl::element_t<R>(s);
}
template <class A, class B, class R = msl::common_t<A, B>, class = enable_if_t<msl::count_of<R> == 3>>
MSL_INLINE R cross(const A& x, const B& y) {
  const R a = R(x), b = R(y);
  return R(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
template <class A, class R = msl::float_t<A>> MSL_INLINE msl::element_t<R> length_squared(const A& x) { return dot(R(x), R(x)); }
template <class A, class R = msl::float_t<A>> MSL_INLINE msl::element_t<R> length(const A& x) {
  const auto v = msl::sized_t<float, msl::count_of<R>>(R(x));
  return msl::element_t<R>(sqrt(dot(v, v)));
}
template <class A, class B, class R = msl::float_t<A, B>> MSL_INLINE msl::element_t<R> distance(const A& x, const B& y) { return length(R(x) - R(y)); }
template <class A, class B, class R = msl::float_t<A, B>> MSL_INLINE msl::element_t<R> distance_squared(const A& x, const B& y) {
  return length_squared(R(x) - R(y));
}
template <class A, class R = msl::float_t<A>> MSL_INLINE R normalize(const A& x) {
  const auto v = msl::sized_t<float, msl::count_of<R>>(R(x));
  return R(v * rsqrt(dot(v, v)));
}
template <class A, class B, class R = msl::float_t<A, B>> MSL_INLINE R reflect(const A& i, const B& n) {
  return R(i) - R(n) * (msl::element_t<R>(2) * dot(R(n), R(i)));
}

namespace precise { using namespace metal; }
namespace fast { using namespace metal; }
}  // namespace metal
