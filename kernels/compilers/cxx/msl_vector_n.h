// Vectors of MSL_N components, packed ones too. msl_vector.h includes this for 2, 3 and 4 inside namespace metal, with MSL_3(...)
// and MSL_4(...) that keep their text where there is a third and a fourth component.
template <class T> struct alignas((MSL_N == 2 ? 2 : 4) * sizeof(T)) vec<T, MSL_N> {
  struct msl_storage { T v[MSL_N]; };
  union {
    struct { T x, y MSL_3(, z) MSL_4(, w); };
    struct { T r, g MSL_3(, b) MSL_4(, a); };
    msl_storage msl_all;
    MSL_SWIZZLES(x, y, z, w)
    MSL_SWIZZLES(r, g, b, a)
  };
  vec() = default;
  vec(const vec&) = default;
  MSL_INLINE constexpr vec(T i, T j MSL_3(, T k) MSL_4(, T l)) : x(i), y(j) MSL_3(, z(k)) MSL_4(, w(l)) {}
  MSL_INLINE constexpr vec(msl::spread, T s) : x(s), y(s) MSL_3(, z(s)) MSL_4(, w(s)) {}
  template <class... A> MSL_INLINE constexpr vec(msl::pieces, const A&... p)
      : x(msl::pick<0, T>(p...)), y(msl::pick<1, T>(p...)) MSL_3(, z(msl::pick<2, T>(p...))) MSL_4(, w(msl::pick<3, T>(p...))) {}
  template <class S, enable_if_t<msl::widens<T, S>, int> = 0> MSL_INLINE constexpr vec(S s) : vec(msl::spread(), T(s)) {}
  template <class S, enable_if_t<msl::narrows<T, S>, int> = 0> explicit MSL_INLINE constexpr vec(S s) : vec(msl::spread(), T(s)) {}
  template <class... A, class = enable_if_t<msl::fills<MSL_N, A...>>> MSL_INLINE constexpr vec(const A&... p) : vec(msl::pieces(), p...) {}
  template <class U> explicit MSL_INLINE constexpr vec(const vec<U, MSL_N>& o) : vec(msl::pieces(), o) {}
  template <class V, class U, int M, int... I, class = enable_if_t<msl::count_of<V> == MSL_N && !is_same<V, vec>::value>>
  explicit MSL_INLINE vec(const msl::swizzle<V, U, M, I...>& o) : vec(V(o)) {}
  MSL_INLINE vec& operator=(const vec& o) { msl_all = o.msl_all; return *this; }
  template <class I> MSL_INLINE T& operator[](I i) { return msl_all.v[i]; }
  template <class I> MSL_INLINE const T& operator[](I i) const { return msl_all.v[i]; }
  MSL_ARITHMETIC(+) MSL_ARITHMETIC(-) MSL_ARITHMETIC(*) MSL_ARITHMETIC(/) MSL_ARITHMETIC(%)
  MSL_ARITHMETIC(&) MSL_ARITHMETIC(|) MSL_ARITHMETIC(^) MSL_ARITHMETIC(<<) MSL_ARITHMETIC(>>)
  MSL_COMPARISON(==) MSL_COMPARISON(!=) MSL_COMPARISON(<) MSL_COMPARISON(<=) MSL_COMPARISON(>)
  MSL_COMPARISON(>=) MSL_COMPARISON(&&) MSL_COMPARISON(||)
  friend MSL_INLINE constexpr vec operator+(const vec& a) { return a; }
  friend MSL_INLINE constexpr vec operator-(const vec& a) { return vec(MSL_MAP(T, -)); }
  friend MSL_INLINE constexpr vec operator~(const vec& a) { return vec(MSL_MAP(T, ~)); }
  friend MSL_INLINE constexpr vec<bool, MSL_N> operator!(const vec& a) { return vec<bool, MSL_N>(MSL_MAP(bool, !)); }
  MSL_INLINE vec& operator++() { return *this = *this + vec(T(1)); }
  MSL_INLINE vec& operator--() { return *this = *this - vec(T(1)); }
  MSL_INLINE vec operator++(int) { vec old = *this; ++*this; return old; }
  MSL_INLINE vec operator--(int) { vec old = *this; --*this; return old; }
};

// A vector without its alignment: for loads and stores. In arithmetic it turns into V, the vector it packs; V comes first for
// the same reason as in a swizzle.
template <class T> struct packed<vec<T, MSL_N>, T> {
  typedef vec<T, MSL_N> V;
  T x, y MSL_3(, z) MSL_4(, w);
  packed() = default;
  template <class... A, class = enable_if_t<msl::fills<MSL_N, A...>>> MSL_INLINE packed(const A&... a) : packed(V(a...)) {}
  MSL_INLINE packed(const V& v) {
    for (int i = 0; i < MSL_N; ++i) (&x)[i] = v[i];
  }
  template <int M, int... I> MSL_INLINE packed(const msl::swizzle<V, T, M, I...>& s) : packed(V(s)) {}
  MSL_INLINE operator V() const {
    V v;
    for (int i = 0; i < MSL_N; ++i) v[i] = (&x)[i];
    return v;
  }
  template <class I> MSL_INLINE T& operator[](I i) { return (&x)[i]; }
  template <class I> MSL_INLINE const T& operator[](I i) const { return (&x)[i]; }
  MSL_INLINE packed& operator+=(const V& b) { return *this = V(*this) + b; }
  MSL_INLINE packed& operator-=(const V& b) { return *this = V(*this) - b; }
  MSL_INLINE packed& operator*=(const V& b) { return *this = V(*this) * b; }
  MSL_INLINE packed& operator/=(const V& b) { return *this = V(*this) / b; }
};
