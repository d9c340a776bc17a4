// Metal's vectors: vec<T, N> for N = 2, 3, 4 with float2 ... bool4, packed_float3 and the like, with all swizzles, to be read
// and (no letter twice) written. Only storage, constructors and operators; functions on vectors are in msl_math.h.
#ifndef MSL_VECTOR_H
#define MSL_VECTOR_H

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
#define MSL_VALUES2(op) T(a.x op b.x), T(a.y op b.y)
#define MSL_VALUES3(op) MSL_VALUES2(op), T(a.z op b.z)
#define MSL_VALUES4(op) MSL_VALUES3(op), T(a.w op b.w)
#define MSL_TRUTHS2(op) bool(a.x op b.x), bool(a.y op b.y)
#define MSL_TRUTHS3(op) MSL_TRUTHS2(op), bool(a.z op b.z)
#define MSL_TRUTHS4(op) MSL_TRUTHS3(op), bool(a.w op b.w)
#define MSL_UNARY2(op) T(op a.x), T(op a.y)
#define MSL_UNARY3(op) MSL_UNARY2(op), T(op a.z)
#define MSL_UNARY4(op) MSL_UNARY3(op), T(op a.w)
#define MSL_NEGATIONS2 !a.x, !a.y
#define MSL_NEGATIONS3 MSL_NEGATIONS2, !a.z
#define MSL_NEGATIONS4 MSL_NEGATIONS3, !a.w

#define MSL_ARITHMETIC(N, op)                                                                                       \
  friend MSL_INLINE constexpr vec operator op(const vec& a, const vec& b) { return vec(MSL_VALUES##N(op)); }        \
  MSL_INLINE vec& operator op##=(const vec& b) { return *this = *this op b; }
#define MSL_COMPARISON(N, op) \
  friend MSL_INLINE constexpr vec<bool, N> operator op(const vec& a, const vec& b) { return vec<bool, N>(MSL_TRUTHS##N(op)); }

#define MSL_VECTOR_MEMBERS(N)                                                                                       \
  typedef T msl_element;                                                                                            \
  vec() = default;                                                                                                  \
  vec(const vec&) = default;                                                                                        \
  template <class S, enable_if_t<msl::widens<T, S>, int> = 0> MSL_INLINE constexpr vec(S s) : vec(msl::spread(), T(s)) {}           \
  template <class S, enable_if_t<msl::narrows<T, S>, int> = 0> explicit MSL_INLINE constexpr vec(S s) : vec(msl::spread(), T(s)) {} \
  template <class... A, class = enable_if_t<msl::fills<N, A...>>> MSL_INLINE constexpr vec(const A&... a)           \
      : vec(msl::pieces(), a...) {}                                                                                 \
  template <class U> explicit MSL_INLINE constexpr vec(const vec<U, N>& o) : vec(msl::pieces(), o) {}               \
  template <class V, class U, int M, int... I, class = enable_if_t<msl::count_of<V> == N && !is_same<V, vec>::value>> \
  explicit MSL_INLINE vec(const msl::swizzle<V, U, M, I...>& o) : vec(V(o)) {}                                      \
  MSL_INLINE vec& operator=(const vec& o) { msl_all = o.msl_all; return *this; }                                    \
  template <class I> MSL_INLINE T& operator[](I i) { return msl_all.v[i]; }                                         \
  template <class I> MSL_INLINE const T& operator[](I i) const { return msl_all.v[i]; }                             \
  MSL_ARITHMETIC(N, +) MSL_ARITHMETIC(N, -) MSL_ARITHMETIC(N, *) MSL_ARITHMETIC(N, /) MSL_ARITHMETIC(N, %)          \
  MSL_ARITHMETIC(N, &) MSL_ARITHMETIC(N, |) MSL_ARITHMETIC(N, ^) MSL_ARITHMETIC(N, <<) MSL_ARITHMETIC(N, >>)        \
  MSL_COMPARISON(N, ==) MSL_COMPARISON(N, !=) MSL_COMPARISON(N, <) MSL_COMPARISON(N, <=) MSL_COMPARISON(N, >)       \
  MSL_COMPARISON(N, >=) MSL_COMPARISON(N, &&) MSL_COMPARISON(N, ||)                                                 \
  friend MSL_INLINE constexpr vec operator+(const vec& a) { return a; }                                             \
  friend MSL_INLINE constexpr vec operator-(const vec& a) { return vec(MSL_UNARY##N(-)); }                          \
  friend MSL_INLINE constexpr vec operator~(const vec& a) { return vec(MSL_UNARY##N(~)); }                          \
  friend MSL_INLINE constexpr vec<bool, N> operator!(const vec& a) { return vec<bool, N>(MSL_NEGATIONS##N); }       \
  MSL_INLINE vec& operator++() { return *this = *this + vec(T(1)); }                                                \
  MSL_INLINE vec& operator--() { return *this = *this - vec(T(1)); }                                                \
  MSL_INLINE vec operator++(int) { vec old = *this; ++*this; return old; }                                          \
  MSL_INLINE vec operator--(int) { vec old = *this; --*this; return old; }

// Every swizzle as a member, letter after letter: FIRST to LAST hand on the name so far and its indices.
#define MSL_VIEW(K, name, ...) msl::swizzle<vec<T, K>, T, msl_count, __VA_ARGS__> name;
#define MSL_LAST2(K, x, y, p, ...) MSL_VIEW(K, p##x, __VA_ARGS__, 0) MSL_VIEW(K, p##y, __VA_ARGS__, 1)
#define MSL_THIRD2(K, x, y, p, ...) MSL_LAST2(K, x, y, p##x, __VA_ARGS__, 0) MSL_LAST2(K, x, y, p##y, __VA_ARGS__, 1)
#define MSL_SECOND2(K, x, y, p, ...) MSL_THIRD2(K, x, y, p##x, __VA_ARGS__, 0) MSL_THIRD2(K, x, y, p##y, __VA_ARGS__, 1)
#define MSL_SWIZZLES2(x, y)                               \
  MSL_LAST2(2, x, y, x, 0) MSL_LAST2(2, x, y, y, 1)       \
  MSL_THIRD2(3, x, y, x, 0) MSL_THIRD2(3, x, y, y, 1)     \
  MSL_SECOND2(4, x, y, x, 0) MSL_SECOND2(4, x, y, y, 1)

#define MSL_LAST3(K, x, y, z, p, ...) \
  MSL_VIEW(K, p##x, __VA_ARGS__, 0) MSL_VIEW(K, p##y, __VA_ARGS__, 1) MSL_VIEW(K, p##z, __VA_ARGS__, 2)
#define MSL_THIRD3(K, x, y, z, p, ...)                                                                  \
  MSL_LAST3(K, x, y, z, p##x, __VA_ARGS__, 0) MSL_LAST3(K, x, y, z, p##y, __VA_ARGS__, 1)               \
  MSL_LAST3(K, x, y, z, p##z, __VA_ARGS__, 2)
#define MSL_SECOND3(K, x, y, z, p, ...)                                                                 \
  MSL_THIRD3(K, x, y, z, p##x, __VA_ARGS__, 0) MSL_THIRD3(K, x, y, z, p##y, __VA_ARGS__, 1)             \
  MSL_THIRD3(K, x, y, z, p##z, __VA_ARGS__, 2)
#define MSL_SWIZZLES3(x, y, z)                                                                          \
  MSL_LAST3(2, x, y, z, x, 0) MSL_LAST3(2, x, y, z, y, 1) MSL_LAST3(2, x, y, z, z, 2)                   \
  MSL_THIRD3(3, x, y, z, x, 0) MSL_THIRD3(3, x, y, z, y, 1) MSL_THIRD3(3, x, y, z, z, 2)                \
  MSL_SECOND3(4, x, y, z, x, 0) MSL_SECOND3(4, x, y, z, y, 1) MSL_SECOND3(4, x, y, z, z, 2)

#define MSL_LAST4(K, x, y, z, w, p, ...)                                                                \
  MSL_VIEW(K, p##x, __VA_ARGS__, 0) MSL_VIEW(K, p##y, __VA_ARGS__, 1)                                   \
  MSL_VIEW(K, p##z, __VA_ARGS__, 2) MSL_VIEW(K, p##w, __VA_ARGS__, 3)
#define MSL_THIRD4(K, x, y, z, w, p, ...)                                                               \
  MSL_LAST4(K, x, y, z, w, p##x, __VA_ARGS__, 0) MSL_LAST4(K, x, y, z, w, p##y, __VA_ARGS__, 1)         \
  MSL_LAST4(K, x, y, z, w, p##z, __VA_ARGS__, 2) MSL_LAST4(K, x, y, z, w, p##w, __VA_ARGS__, 3)
#define MSL_SECOND4(K, x, y, z, w, p, ...)                                                              \
  MSL_THIRD4(K, x, y, z, w, p##x, __VA_ARGS__, 0) MSL_THIRD4(K, x, y, z, w, p##y, __VA_ARGS__, 1)       \
  MSL_THIRD4(K, x, y, z, w, p##z, __VA_ARGS__, 2) MSL_THIRD4(K, x, y, z, w, p##w, __VA_ARGS__, 3)
#define MSL_SWIZZLES4(x, y, z, w)                                                                       \
  MSL_LAST4(2, x, y, z, w, x, 0) MSL_LAST4(2, x, y, z, w, y, 1) MSL_LAST4(2, x, y, z, w, z, 2)          \
  MSL_LAST4(2, x, y, z, w, w, 3) MSL_THIRD4(3, x, y, z, w, x, 0) MSL_THIRD4(3, x, y, z, w, y, 1)        \
  MSL_THIRD4(3, x, y, z, w, z, 2) MSL_THIRD4(3, x, y, z, w, w, 3) MSL_SECOND4(4, x, y, z, w, x, 0)      \
  MSL_SECOND4(4, x, y, z, w, y, 1) MSL_SECOND4(4, x, y, z, w, z, 2) MSL_SECOND4(4, x, y, z, w, w, 3)
template <class T> struct alignas(2 * sizeof(T)) vec<T, 2> {
  static constexpr int msl_count = 2;
  struct msl_storage { T v[2]; };
  union {
    struct { T x, y; };
    struct { T r, g; };
    msl_storage msl_all;
    MSL_SWIZZLES2(x, y)
    MSL_SWIZZLES2(r, g)
  };
  MSL_INLINE constexpr vec(T a, T b) : x(a), y(b) {}
  MSL_INLINE constexpr vec(msl::spread, T s) : x(s), y(s) {}
  template <class... A> MSL_INLINE constexpr vec(msl::pieces, const A&... a) : x(msl::pick<0, T>(a...)), y(msl::pick<1, T>(a...)) {}
  MSL_VECTOR_MEMBERS(2)
};
template <class T> struct alignas(4 * sizeof(T)) vec<T, 3> {
  static constexpr int msl_count = 3;
  struct msl_storage { T v[3]; };
  union {
    struct { T x, y, z; };
    struct { T r, g, b; };
    msl_storage msl_all;
    MSL_SWIZZLES3(x, y, z)
    MSL_SWIZZLES3(r, g, b)
  };
  MSL_INLINE constexpr vec(T a, T b, T c) : x(a), y(b), z(c) {}
  MSL_INLINE constexpr vec(msl::spread, T s) : x(s), y(s), z(s) {}
  template <class... A> MSL_INLINE constexpr vec(msl::pieces, const A&... a)
      : x(msl::pick<0, T>(a...)), y(msl::pick<1, T>(a...)), z(msl::pick<2, T>(a...)) {}
  MSL_VECTOR_MEMBERS(3)
};
template <class T> struct alignas(4 * sizeof(T)) vec<T, 4> {
  static constexpr int msl_count = 4;
  struct msl_storage { T v[4]; };
  union {
    struct { T x, y, z, w; };
    struct { T r, g, b, a; };
    msl_storage msl_all;
    MSL_SWIZZLES4(x, y, z, w)
    MSL_SWIZZLES4(r, g, b, a)
  };
  MSL_INLINE constexpr vec(T i, T j, T k, T l) : x(i), y(j), z(k), w(l) {}
  MSL_INLINE constexpr vec(msl::spread, T s) : x(s), y(s), z(s), w(s) {}
  template <class... A> MSL_INLINE constexpr vec(msl::pieces, const A&... p)
      : x(msl::pick<0, T>(p...)), y(msl::pick<1, T>(p...)), z(msl::pick<2, T>(p...)), w(msl::pick<3, T>(p...)) {}
  MSL_VECTOR_MEMBERS(4)
};
}  // namespace metal

namespace msl {
#define MSL_SWIZZLE_ASSIGN(op)                                                                                   \
  template <class V, class T, int N, int... I>                                                                   \
  MSL_INLINE swizzle<V, T, N, I...>& operator op##=(swizzle<V, T, N, I...>& s, const same_t<V>& v) {             \
    return s = V(s) op v;                                                                                        \
  }
MSL_SWIZZLE_ASSIGN(+) MSL_SWIZZLE_ASSIGN(-) MSL_SWIZZLE_ASSIGN(*) MSL_SWIZZLE_ASSIGN(/) MSL_SWIZZLE_ASSIGN(%)
MSL_SWIZZLE_ASSIGN(&) MSL_SWIZZLE_ASSIGN(|) MSL_SWIZZLE_ASSIGN(^) MSL_SWIZZLE_ASSIGN(<<) MSL_SWIZZLE_ASSIGN(>>)
#undef MSL_SWIZZLE_ASSIGN
}  // namespace msl

namespace metal {
// A vector without its alignment: for loads and stores. In arithmetic it turns into V, the vector it packs; V comes first for
// the same reason as in a swizzle.
#define MSL_PACKED(N, ...)                                                                                          \
  template <class T> struct packed<vec<T, N>, T> {                                                                  \
    T __VA_ARGS__;                                                                                                  \
    packed() = default;                                                                                             \
    template <class... A, class = enable_if_t<msl::fills<N, A...>>> MSL_INLINE packed(const A&... a) : packed(vec<T, N>(a...)) {} \
    MSL_INLINE packed(const vec<T, N>& v) {                                                                         \
      for (int i = 0; i < N; ++i) (&x)[i] = v[i];                                                                   \
    }                                                                                                               \
    template <int M, int... I> MSL_INLINE packed(const msl::swizzle<vec<T, N>, T, M, I...>& s) : packed(vec<T, N>(s)) {} \
    MSL_INLINE operator vec<T, N>() const {                                                                         \
      vec<T, N> v;                                                                                                  \
      for (int i = 0; i < N; ++i) v[i] = (&x)[i];                                                                   \
      return v;                                                                                                     \
    }                                                                                                               \
    template <class I> MSL_INLINE T& operator[](I i) { return (&x)[i]; }                                            \
    template <class I> MSL_INLINE const T& operator[](I i) const { return (&x)[i]; }                                \
    MSL_INLINE packed& operator+=(const vec<T, N>& b) { return *this = vec<T, N>(*this) + b; }                      \
    MSL_INLINE packed& operator-=(const vec<T, N>& b) { return *this = vec<T, N>(*this) - b; }                      \
    MSL_INLINE packed& operator*=(const vec<T, N>& b) { return *this = vec<T, N>(*this) * b; }                      \
    MSL_INLINE packed& operator/=(const vec<T, N>& b) { return *this = vec<T, N>(*this) / b; }                      \
  };
template <class V, class T> struct packed;
MSL_PACKED(2, x, y)
MSL_PACKED(3, x, y, z)
MSL_PACKED(4, x, y, z, w)
#undef MSL_PACKED

#define MSL_NAME_VECTORS(T)            \
  typedef vec<T, 2> T##2;              \
  typedef vec<T, 3> T##3;              \
  typedef vec<T, 4> T##4;              \
  typedef packed<vec<T, 2>, T> packed_##T##2; \
  typedef packed<vec<T, 3>, T> packed_##T##3; \
  typedef packed<vec<T, 4>, T> packed_##T##4;
#define MSL_ELEMENTS(F) F(bool) F(char) F(uchar) F(short) F(ushort) F(int) F(uint) F(long) F(ulong) F(half) F(bfloat) F(float)
MSL_ELEMENTS(MSL_NAME_VECTORS)
#undef MSL_NAME_VECTORS
}  // namespace metal

namespace msl {
template <class V, class T> struct shape<metal::packed<V, T>> : shape<V> {};
}  // namespace msl

#define MSL_USE_VECTORS(T)   \
  using metal::T##2;         \
  using metal::T##3;         \
  using metal::T##4;         \
  using metal::packed_##T##2; \
  using metal::packed_##T##3; \
  using metal::packed_##T##4;
MSL_ELEMENTS(MSL_USE_VECTORS)
#undef MSL_USE_VECTORS

#endif
