// Metal's vectors: vec<T, N> for N = 2, 3, 4 with float2 ... bool4, packed_float3 and the like, with all swizzles, to be read
// and (no letter twice) written. Only storage, constructors and operators; functions on vectors are in msl_math.h.
#pragma once

namespace msl {
struct spread {};  // tags that choose a constructor
struct pieces {};

// A swizzle is a view that lies over the whole vector in a union, so that a copy of it (auto s = v.xy) stays valid.
// V, the vector it stands for, comes first so that argument-dependent lookup finds V's operators.
template <class V, class T, int N, int A, int B, int C = -1, int D = -1> struct swizzle {
  T msl_v[N];
  MSL_INLINE operator V() const {
    if constexpr (C < 0) return V(msl_v[A], msl_v[B]);
    else if constexpr (D < 0) return V(msl_v[A], msl_v[B], msl_v[C]);
    else return V(msl_v[A], msl_v[B], msl_v[C], msl_v[D]);
  }
  swizzle() = default;
  swizzle(const swizzle&) = default;
  MSL_INLINE swizzle& operator=(const swizzle& o) { return *this = V(o); }
  MSL_INLINE swizzle& operator=(const V& v) {
    static_assert(A != B && (C < 0 || (C != A && C != B)) && (D < 0 || (D != A && D != B && D != C)),
                  "a swizzle that names a component twice cannot be written");
    const V copy = v;
    msl_v[A] = copy.x;
    msl_v[B] = copy.y;
    if constexpr (C >= 0) msl_v[C] = copy.z;
    if constexpr (D >= 0) msl_v[D] = copy.w;
    return *this;
  }
  MSL_INLINE T operator[](int i) const { return V(*this)[i]; }
};

// What a value is: its element type, its count of elements, and the type it has when it is not a view of something.
template <class A> struct shape {
  typedef A element;
  typedef A value;
  static constexpr int count = is_number<A> ? 1 : 0;
};
template <> struct shape<double> {
  typedef float element;
  typedef float value;
  static constexpr int count = 1;
};
template <class T, int N> struct shape<metal::vec<T, N>> {
  typedef T element;
  typedef metal::vec<T, N> value;
  static constexpr int count = N;
};
template <class V, class T, int N, int... I> struct shape<swizzle<V, T, N, I...>> : shape<V> {};
template <class A> constexpr int count_of = shape<A>::count;

template <int I, class A> MSL_INLINE constexpr auto component(const A& a) {
  if constexpr (count_of<A> == 1) return a;
  else {
    const typename shape<A>::value v = a;
    if constexpr (I == 0) return v.x;
    else if constexpr (I == 1) return v.y;
    else if constexpr (I == 2) return v.z;
    else return v.w;
  }
}
// The I-th of all components of a list of scalars and vectors.
template <int I, class T, class A, class... Rest> MSL_INLINE constexpr T pick(const A& a, const Rest&... rest) {
  if constexpr (I < count_of<A>) return T(component<I>(a));
  else return pick<I - count_of<A>, T>(rest...);
}
template <int N, class... A> constexpr bool fills = sizeof...(A) > 1 && (count_of<A> + ... + 0) == N && ((count_of<A> > 0) && ...);
// float scalars do not turn into integer vectors unasked
template <class T, class S> constexpr bool widens = is_number<S> && !(is_integer<T> && is_floating<S>);
template <class T, class S> constexpr bool narrows = is_number<S> && is_integer<T> && is_floating<S>;
}  // namespace msl

namespace metal {
template <class V, class T> struct packed;

// What msl_vector_n.h is made of; MSL_3 and MSL_4 hold what a third and a fourth component add.
#define MSL_ZIP(R, op) R(a.x op b.x), R(a.y op b.y) MSL_3(, R(a.z op b.z)) MSL_4(, R(a.w op b.w))
#define MSL_MAP(R, op) R(op a.x), R(op a.y) MSL_3(, R(op a.z)) MSL_4(, R(op a.w))
#define MSL_ARITHMETIC(op)                                                                                \
  friend MSL_INLINE constexpr vec operator op(const vec& a, const vec& b) { return vec(MSL_ZIP(T, op)); } \
  MSL_INLINE vec& operator op##=(const vec& b) { return *this = *this op b; }
#define MSL_COMPARISON(op)                                                               \
  friend MSL_INLINE constexpr vec<bool, MSL_N> operator op(const vec& a, const vec& b) { \
    return vec<bool, MSL_N>(MSL_ZIP(bool, op));                                          \
  }
// Every swizzle as a member, letter after letter: FIRST to LAST hand on the name so far and its indices.
#define MSL_VIEW(K, name, ...) msl::swizzle<vec<T, K>, T, MSL_N, __VA_ARGS__> name;
#define MSL_LAST(K, x, y, z, w, p, ...)                               \
  MSL_VIEW(K, p##x, __VA_ARGS__, 0) MSL_VIEW(K, p##y, __VA_ARGS__, 1) \
  MSL_3(MSL_VIEW(K, p##z, __VA_ARGS__, 2)) MSL_4(MSL_VIEW(K, p##w, __VA_ARGS__, 3))
#define MSL_THIRD(K, x, y, z, w, p, ...)                                                      \
  MSL_LAST(K, x, y, z, w, p##x, __VA_ARGS__, 0) MSL_LAST(K, x, y, z, w, p##y, __VA_ARGS__, 1) \
  MSL_3(MSL_LAST(K, x, y, z, w, p##z, __VA_ARGS__, 2)) MSL_4(MSL_LAST(K, x, y, z, w, p##w, __VA_ARGS__, 3))
#define MSL_SECOND(K, x, y, z, w, p, ...)                                                       \
  MSL_THIRD(K, x, y, z, w, p##x, __VA_ARGS__, 0) MSL_THIRD(K, x, y, z, w, p##y, __VA_ARGS__, 1) \
  MSL_3(MSL_THIRD(K, x, y, z, w, p##z, __VA_ARGS__, 2)) MSL_4(MSL_THIRD(K, x, y, z, w, p##w, __VA_ARGS__, 3))
#define MSL_FIRST(NEXT, K, x, y, z, w) \
  NEXT(K, x, y, z, w, x, 0) NEXT(K, x, y, z, w, y, 1) MSL_3(NEXT(K, x, y, z, w, z, 2)) MSL_4(NEXT(K, x, y, z, w, w, 3))
#define MSL_SWIZZLES(x, y, z, w) \
  MSL_FIRST(MSL_LAST, 2, x, y, z, w) MSL_FIRST(MSL_THIRD, 3, x, y, z, w) MSL_FIRST(MSL_SECOND, 4, x, y, z, w)

#define MSL_N 2
#define MSL_3(...)
#define MSL_4(...)
#include "msl_vector_n.h"
#undef MSL_N
#undef MSL_3
#define MSL_N 3
#define MSL_3(...) __VA_ARGS__
#include "msl_vector_n.h"
#undef MSL_N
#undef MSL_4
#define MSL_N 4
#define MSL_4(...) __VA_ARGS__
#include "msl_vector_n.h"
}  // namespace metal

namespace msl {
#define MSL_SWIZZLE_ASSIGN(op)                                                                       \
  template <class V, class T, int N, int... I>                                                       \
  MSL_INLINE swizzle<V, T, N, I...>& operator op##=(swizzle<V, T, N, I...>& s, const same_t<V>& v) { \
    return s = V(s) op v;                                                                            \
  }
MSL_SWIZZLE_ASSIGN(+) MSL_SWIZZLE_ASSIGN(-) MSL_SWIZZLE_ASSIGN(*) MSL_SWIZZLE_ASSIGN(/) MSL_SWIZZLE_ASSIGN(%)
MSL_SWIZZLE_ASSIGN(&) MSL_SWIZZLE_ASSIGN(|) MSL_SWIZZLE_ASSIGN(^) MSL_SWIZZLE_ASSIGN(<<) MSL_SWIZZLE_ASSIGN(>>)
#undef MSL_SWIZZLE_ASSIGN
}  // namespace msl

namespace metal {
#define MSL_NAME_VECTORS(T)                                      \
  typedef vec<T, 2> T##2; typedef packed<T##2, T> packed_##T##2; \
  typedef vec<T, 3> T##3; typedef packed<T##3, T> packed_##T##3; \
  typedef vec<T, 4> T##4; typedef packed<T##4, T> packed_##T##4;
#define MSL_ELEMENTS(F) F(bool) F(char) F(uchar) F(short) F(ushort) F(int) F(uint) F(long) F(ulong) F(half) F(bfloat) F(float)
MSL_ELEMENTS(MSL_NAME_VECTORS)
#undef MSL_NAME_VECTORS
}  // namespace metal

namespace msl {
template <class V, class T> struct shape<metal::packed<V, T>> : shape<V> {};
}  // namespace msl

#define MSL_USE_VECTORS(T) using metal::T##2, metal::T##3, metal::T##4, metal::packed_##T##2, metal::packed_##T##3, metal::packed_##T##4;
MSL_ELEMENTS(MSL_USE_VECTORS)
#undef MSL_USE_VECTORS
