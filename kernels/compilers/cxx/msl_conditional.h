// What the translator makes of `c ? a : b`: ::msl::chosen(c ? (a, ::msl::arm()) : (b, ::msl::arm())). An arm that C++ would find
// ambiguous (half, bfloat, a swizzle, a packed vector) is replaced by one with a single way to the common type; all others
// pass as they are, values, lvalues and void alike, so that C++ chooses. Not done: a bit-field as an arm.
#pragma once

namespace msl {
// half or bfloat in an arm: turns into float and vectors, and integers turn into it. No other conversion, hence templates.
template <class H> struct small_float {
  H value;
  explicit MSL_INLINE MSL_BITS_CONSTEXPR small_float(H h) : value(h) {}
  template <class T, class = if_integer<T>> MSL_INLINE MSL_BITS_CONSTEXPR small_float(T x) : value(x) {}
  template <class T, class = metal::enable_if_t<metal::is_same<T, float>::value || (count_of<T> > 1)>>
  MSL_INLINE MSL_BITS_CONSTEXPR operator T() const { return T(value); }
};

template <class T, class V = metal::decay_t<T>> struct arm_type { typedef T type; };
template <class T> struct arm_type<T, metal::half> { typedef small_float<metal::half> type; };
template <class T> struct arm_type<T, metal::bfloat> { typedef small_float<metal::bfloat> type; };
template <class T, class V, class E, int N, int... I> struct arm_type<T, swizzle<V, E, N, I...>> { typedef V type; };
template <class T, class V, class E> struct arm_type<T, metal::packed<V, E>> { typedef V type; };

struct arm {};
template <class T> MSL_INLINE constexpr typename arm_type<T>::type operator,(T&& x, arm) {
  return static_cast<typename arm_type<T>::type>(static_cast<T&&>(x));
}

template <class T> MSL_INLINE constexpr T chosen(T&& x) { return static_cast<T&&>(x); }
template <class H> MSL_INLINE constexpr H chosen(small_float<H>&& x) { return x.value; }
MSL_INLINE void chosen(arm) {}  // both arms are void: the comma before it was C++'s own
}  // namespace msl
