// The parts of Metal's standard library that compute kernels use, as declarations only, for a front end in OpenCL C++
// mode: there Metal's address spaces are types. Written from the Metal Shading Language Specification; a function has
// exactly the overloads that the specification lists, so that a call it leaves ambiguous is ambiguous here.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __bf16 bfloat;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef signed char int8_t;
typedef uchar uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;

#define MSL_VECTOR(T, NAME) \
  typedef T NAME##2 __attribute__((ext_vector_type(2))); \
  typedef T NAME##3 __attribute__((ext_vector_type(3))); \
  typedef T NAME##4 __attribute__((ext_vector_type(4)));
MSL_VECTOR(half, half)
MSL_VECTOR(float, float)
MSL_VECTOR(bfloat, bfloat)
MSL_VECTOR(char, char)
MSL_VECTOR(uchar, uchar)
MSL_VECTOR(short, short)
MSL_VECTOR(ushort, ushort)
MSL_VECTOR(int, int)
MSL_VECTOR(uint, uint)
MSL_VECTOR(long, long)
MSL_VECTOR(ulong, ulong)
MSL_VECTOR(int, bool)  // as comparisons give them in this mode

// Vector constructors: Metal's name(...), which this mode has no room for. A type alone is not followed by '('.
namespace msl {
template <class T> struct parts { enum { count = 1 }; typedef T element; };
template <class T, int N> struct parts<T __attribute__((ext_vector_type(N)))> { enum { count = N }; typedef T element; };
template <class A, class B> struct same { enum { value = 0 }; };
template <class A> struct same<A, A> { enum { value = 1 }; };
template <class E, class... A> struct list { enum { count = 0, fits = 1 }; };
template <class E, class A, class... R> struct list<E, A, R...> {
  enum {
    count = parts<A>::count + list<E, R...>::count,
    fits = (parts<A>::count == 1 || same<typename parts<A>::element, E>::value) && list<E, R...>::fits
  };
};
template <class V> constexpr V make() { return V(); }
template <class V, class A> constexpr V make(A) {
  static_assert(parts<A>::count == 1 || parts<A>::count == parts<V>::count, "msl: vector constructor from another width");
  return V();
}
template <class V, class A, class B, class... R> constexpr V make(A, B, R...) {
  typedef list<typename parts<V>::element, A, B, R...> given;
  static_assert(given::count == parts<V>::count, "msl: vector constructor with a wrong number of components");
  static_assert(given::fits, "msl: vector constructor from vectors of another type");
  return V();
}
template <class T> struct plain { typedef T type; };
template <class T> __local T& shared();  // what a threadgroup variable is declared as
}  // namespace msl
#define half2(...) msl::make<half2>(__VA_ARGS__)
#define half3(...) msl::make<half3>(__VA_ARGS__)
#define half4(...) msl::make<half4>(__VA_ARGS__)
#define float2(...) msl::make<float2>(__VA_ARGS__)
#define float3(...) msl::make<float3>(__VA_ARGS__)
#define float4(...) msl::make<float4>(__VA_ARGS__)
#define bfloat2(...) msl::make<bfloat2>(__VA_ARGS__)
#define bfloat3(...) msl::make<bfloat3>(__VA_ARGS__)
#define bfloat4(...) msl::make<bfloat4>(__VA_ARGS__)
#define char2(...) msl::make<char2>(__VA_ARGS__)
#define char4(...) msl::make<char4>(__VA_ARGS__)
#define uchar2(...) msl::make<uchar2>(__VA_ARGS__)
#define uchar4(...) msl::make<uchar4>(__VA_ARGS__)
#define short2(...) msl::make<short2>(__VA_ARGS__)
#define short3(...) msl::make<short3>(__VA_ARGS__)
#define short4(...) msl::make<short4>(__VA_ARGS__)
#define ushort2(...) msl::make<ushort2>(__VA_ARGS__)
#define ushort3(...) msl::make<ushort3>(__VA_ARGS__)
#define ushort4(...) msl::make<ushort4>(__VA_ARGS__)
#define int2(...) msl::make<int2>(__VA_ARGS__)
#define int3(...) msl::make<int3>(__VA_ARGS__)
#define int4(...) msl::make<int4>(__VA_ARGS__)
#define uint2(...) msl::make<uint2>(__VA_ARGS__)
#define uint3(...) msl::make<uint3>(__VA_ARGS__)
#define uint4(...) msl::make<uint4>(__VA_ARGS__)
#define long2(...) msl::make<long2>(__VA_ARGS__)
#define ulong2(...) msl::make<ulong2>(__VA_ARGS__)
#define bool2(...) msl::make<bool2>(__VA_ARGS__)
#define bool3(...) msl::make<bool3>(__VA_ARGS__)
#define bool4(...) msl::make<bool4>(__VA_ARGS__)

template <class T, class U> constexpr T as_type(U) {
  static_assert(sizeof(T) == sizeof(U), "msl: as_type between sizes");
  return T();
}

#define METAL_FUNC inline __attribute__((__always_inline__))
#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define HUGE_VALF (__builtin_inff())
#define MAXFLOAT 3.402823466e+38f
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define HALF_MAX 65504.0h
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_1_PI_F 0.31830988618379067154f
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.69314718055994530942f
#define M_SQRT2_F 1.41421356237309504880f
#define M_PI_H 3.14159265358979323846h

namespace metal {
namespace msl = ::msl;
using ::half2; using ::half3; using ::half4; using ::float2; using ::float3; using ::float4;
using ::int2; using ::int3; using ::int4; using ::uint2; using ::uint3; using ::uint4;
using ::ushort2; using ::ushort3; using ::ushort4; using ::as_type;
template <class T, int N> using vec = T __attribute__((ext_vector_type(N)));

// --- lists of types --------------------------------------------------------------------------------------------------
#define MSL_FLOATS(F) F(half, short) F(half2, short2) F(half3, short3) F(half4, short4) \
  F(float, int) F(float2, int2) F(float3, int3) F(float4, int4) \
  F(bfloat, short) F(bfloat2, short2) F(bfloat3, short3) F(bfloat4, short4)
#define MSL_INTS(F) F(char) F(char2) F(char3) F(char4) F(uchar) F(uchar2) F(uchar3) F(uchar4) \
  F(short) F(short2) F(short3) F(short4) F(ushort) F(ushort2) F(ushort3) F(ushort4) \
  F(int) F(int2) F(int3) F(int4) F(uint) F(uint2) F(uint3) F(uint4) \
  F(long) F(long2) F(long3) F(long4) F(ulong) F(ulong2) F(ulong3) F(ulong4)
#define MSL_MOVABLE(F) F(half) F(half2) F(half3) F(half4) F(float) F(float2) F(float3) F(float4) \
  F(bfloat) F(bfloat2) F(bfloat3) F(bfloat4) \
  F(char) F(char2) F(char3) F(char4) F(uchar) F(uchar2) F(uchar3) F(uchar4) \
  F(short) F(short2) F(short3) F(short4) F(ushort) F(ushort2) F(ushort3) F(ushort4) \
  F(int) F(int2) F(int3) F(int4) F(uint) F(uint2) F(uint3) F(uint4)

// --- mathematics -----------------------------------------------------------------------------------------------------
#define MSL_TRANSCENDENTAL(T, I) \
  constexpr T acos(T); constexpr T acosh(T); constexpr T asin(T); constexpr T asinh(T); constexpr T atan(T); constexpr T atanh(T); \
  constexpr T ceil(T); constexpr T cos(T); constexpr T cosh(T); constexpr T cospi(T); constexpr T exp(T); constexpr T exp2(T); \
  constexpr T exp10(T); constexpr T fabs(T); constexpr T abs(T); constexpr T floor(T); constexpr T fract(T); constexpr T log(T); \
  constexpr T log2(T); constexpr T log10(T); constexpr T rint(T); constexpr T round(T); constexpr T rsqrt(T); constexpr T sin(T); \
  constexpr T sinh(T); constexpr T sinpi(T); constexpr T sqrt(T); constexpr T tan(T); constexpr T tanh(T); constexpr T tanpi(T); \
  constexpr T trunc(T); constexpr T atan2(T, T); constexpr T fmax(T, T); constexpr T fmin(T, T); constexpr T max(T, T); \
  constexpr T min(T, T); constexpr T fmod(T, T); constexpr T pow(T, T); constexpr T powr(T, T); constexpr T clamp(T, T, T); \
  constexpr T saturate(T); constexpr T fmax3(T, T, T); constexpr T fmin3(T, T, T); constexpr T max3(T, T, T); \
  constexpr T min3(T, T, T); constexpr T median3(T, T, T); constexpr T divide(T, T); T sincos(T, __private T&);
#define MSL_FLOAT(T, I) MSL_TRANSCENDENTAL(T, I) \
  constexpr T copysign(T, T); constexpr T fdim(T, T); constexpr T fma(T, T, T); constexpr T mix(T, T, T); constexpr T sign(T); \
  constexpr T step(T, T); constexpr T smoothstep(T, T, T); constexpr T nextafter(T, T); T modf(T, __private T&); \
  constexpr T select(T, T, I);
MSL_FLOATS(MSL_FLOAT)
namespace fast { MSL_FLOATS(MSL_TRANSCENDENTAL) }
namespace precise { MSL_FLOATS(MSL_TRANSCENDENTAL) }
#define MSL_SCALAR(T) T ldexp(T, int); T frexp(T, __private int&); int ilogb(T); T select(T, T, bool); \
  bool isnan(T); bool isinf(T); bool isfinite(T); bool isnormal(T); bool signbit(T); bool isordered(T, T); bool isunordered(T, T);
MSL_SCALAR(half) MSL_SCALAR(float) MSL_SCALAR(bfloat)
#define MSL_CLASSES(N) bool##N isnan(float##N); bool##N isinf(float##N); bool##N isfinite(float##N); \
  bool##N isnan(half##N); bool##N isinf(half##N); bool##N isfinite(half##N); bool any(bool##N); bool all(bool##N); \
  float##N select(float##N, float##N, uint##N);
MSL_CLASSES(2) MSL_CLASSES(3) MSL_CLASSES(4)
bool any(bool); bool all(bool);

#define MSL_INT(T) constexpr T abs(T); constexpr T absdiff(T, T); constexpr T addsat(T, T); constexpr T subsat(T, T); \
  constexpr T clamp(T, T, T); constexpr T clz(T); constexpr T ctz(T); constexpr T popcount(T); constexpr T hadd(T, T); \
  constexpr T rhadd(T, T); constexpr T madhi(T, T, T); constexpr T madsat(T, T, T); constexpr T max(T, T); \
  constexpr T min(T, T); constexpr T max3(T, T, T); constexpr T min3(T, T, T); constexpr T median3(T, T, T); \
  constexpr T mulhi(T, T); constexpr T reverse_bits(T); constexpr T rotate(T, T); constexpr T extract_bits(T, uint, uint); \
  constexpr T insert_bits(T, T, uint, uint);
MSL_INTS(MSL_INT)
constexpr int mad24(int, int, int); constexpr uint mad24(uint, uint, uint);
constexpr int mul24(int, int); constexpr uint mul24(uint, uint);
#define MSL_INT_SELECT(T) T select(T, T, bool);
MSL_INT_SELECT(char) MSL_INT_SELECT(uchar) MSL_INT_SELECT(short) MSL_INT_SELECT(ushort) MSL_INT_SELECT(int) MSL_INT_SELECT(uint)
int2 select(int2, int2, bool2); int3 select(int3, int3, bool3); int4 select(int4, int4, bool4);
uint2 select(uint2, uint2, bool2); uint3 select(uint3, uint3, bool3); uint4 select(uint4, uint4, bool4);

#define MSL_GEOMETRY(S, T) S dot(T, T); S length(T); S length_squared(T); S distance(T, T); S distance_squared(T, T); \
  T normalize(T); T reflect(T, T); T refract(T, T, S); T faceforward(T, T, T);
MSL_GEOMETRY(half, half2) MSL_GEOMETRY(half, half3) MSL_GEOMETRY(half, half4)
MSL_GEOMETRY(float, float2) MSL_GEOMETRY(float, float3) MSL_GEOMETRY(float, float4)
float3 cross(float3, float3); half3 cross(half3, half3);

uint pack_float_to_unorm4x8(float4); float4 unpack_unorm4x8_to_float(uint); uint pack_half_to_unorm4x8(half4);

// --- synchronisation, simdgroups -------------------------------------------------------------------------------------
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4, mem_threadgroup_imageblock = 8 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);

struct simd_vote {
  typedef ulong vote_t;
  bool all() const;
  bool any() const;
  explicit operator vote_t() const;
};
simd_vote simd_ballot(bool); bool simd_all(bool); bool simd_any(bool); bool simd_is_first(); simd_vote simd_active_threads_mask();
bool simd_is_helper_thread(); bool quad_all(bool); bool quad_any(bool);
#define MSL_MOVES(T) \
  T simd_shuffle(T, ushort); T simd_shuffle_xor(T, ushort); T simd_shuffle_up(T, ushort); T simd_shuffle_down(T, ushort); \
  T simd_shuffle_rotate_up(T, ushort); T simd_shuffle_rotate_down(T, ushort); T simd_broadcast(T, ushort); \
  T simd_broadcast_first(T); T simd_shuffle_and_fill_up(T, T, ushort); T simd_shuffle_and_fill_down(T, T, ushort); \
  T quad_shuffle(T, ushort); T quad_shuffle_xor(T, ushort); T quad_shuffle_up(T, ushort); T quad_shuffle_down(T, ushort); \
  T quad_broadcast(T, ushort); T simd_sum(T); T simd_product(T); T simd_min(T); T simd_max(T); T simd_prefix_inclusive_sum(T); \
  T simd_prefix_exclusive_sum(T); T simd_prefix_inclusive_product(T); T simd_prefix_exclusive_product(T); T quad_sum(T); \
  T quad_min(T); T quad_max(T);
MSL_MOVABLE(MSL_MOVES)
#define MSL_BITS(T) T simd_and(T); T simd_or(T); T simd_xor(T);
MSL_BITS(int) MSL_BITS(uint) MSL_BITS(short) MSL_BITS(ushort) MSL_BITS(char) MSL_BITS(uchar)

template <class T, int C, int R> struct simdgroup_matrix { T held; simdgroup_matrix(); simdgroup_matrix(T); };
#define MSL_LOAD(SPACE) \
  template <class T, int C, int R> void simdgroup_load(__private simdgroup_matrix<T, C, R>&, const SPACE T*, ulong = 8, \
                                                       ulong2 = ulong2(0ul, 0ul), bool = false);
MSL_LOAD(__global) MSL_LOAD(__local)
#define MSL_STORE(SPACE) \
  template <class T, int C, int R> void simdgroup_store(simdgroup_matrix<T, C, R>, SPACE T*, ulong = 8, \
                                                        ulong2 = ulong2(0ul, 0ul), bool = false);
MSL_STORE(__global) MSL_STORE(__local)
template <class T, int C, int R> void simdgroup_multiply(__private simdgroup_matrix<T, C, R>&, simdgroup_matrix<T, C, R>,
                                                         simdgroup_matrix<T, C, R>);
template <class T, int C, int R> void simdgroup_multiply_accumulate(
    __private simdgroup_matrix<T, C, R>&, simdgroup_matrix<T, C, R>, simdgroup_matrix<T, C, R>, simdgroup_matrix<T, C, R>);
template <class T, int C, int R> simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;

// --- atomics ---------------------------------------------------------------------------------------------------------
enum msl_memory_order { memory_order_relaxed };
#define memory_order msl_memory_order
template <class T> struct atomic { T held; };
typedef atomic<int> msl_atomic_int;
#define atomic_int msl_atomic_int  // OpenCL has a type of that name
typedef atomic<uint> msl_atomic_uint;
#define atomic_uint msl_atomic_uint  // OpenCL has a type of that name
typedef atomic<bool> msl_atomic_bool;
#define atomic_bool msl_atomic_bool  // OpenCL has a type of that name
typedef atomic<ulong> msl_atomic_ulong;
#define atomic_ulong msl_atomic_ulong  // OpenCL has a type of that name
typedef atomic<float> msl_atomic_float;
#define atomic_float msl_atomic_float  // OpenCL has a type of that name
namespace detail {
template <class T> struct id { typedef T type; };
template <bool, class T = void> struct when {};
template <class T> struct when<true, T> { typedef T type; };
template <class T> struct is_atomic_int { enum { value = 0 }; };
template <> struct is_atomic_int<int> { enum { value = 1 }; };
template <> struct is_atomic_int<uint> { enum { value = 1 }; };
template <class T> struct is_atomic_word { enum { value = is_atomic_int<T>::value }; };
template <> struct is_atomic_word<bool> { enum { value = 1 }; };
template <> struct is_atomic_word<float> { enum { value = 1 }; };
}  // namespace detail
#define MSL_ATOMIC_FETCH(SPACE, NAME, WHICH) \
  template <class T> typename detail::when<WHICH, T>::type atomic_fetch_##NAME##_explicit( \
      volatile SPACE atomic<T>*, typename detail::id<T>::type, memory_order);
#define MSL_ATOMIC(SPACE, ADDS) \
  template <class T> typename detail::when<detail::is_atomic_word<T>::value, T>::type atomic_load_explicit( \
      const volatile SPACE atomic<T>*, memory_order); \
  template <class T> typename detail::when<detail::is_atomic_word<T>::value>::type atomic_store_explicit( \
      volatile SPACE atomic<T>*, typename detail::id<T>::type, memory_order); \
  template <class T> typename detail::when<detail::is_atomic_word<T>::value, T>::type atomic_exchange_explicit( \
      volatile SPACE atomic<T>*, typename detail::id<T>::type, memory_order); \
  template <class T> typename detail::when<detail::is_atomic_word<T>::value, bool>::type atomic_compare_exchange_weak_explicit( \
      volatile SPACE atomic<T>*, __private typename detail::id<T>::type*, typename detail::id<T>::type, memory_order, memory_order); \
  MSL_ATOMIC_FETCH(SPACE, add, (detail::is_atomic_int<T>::value || ADDS)) \
  MSL_ATOMIC_FETCH(SPACE, sub, (detail::is_atomic_int<T>::value || ADDS)) \
  MSL_ATOMIC_FETCH(SPACE, and, detail::is_atomic_int<T>::value) MSL_ATOMIC_FETCH(SPACE, or, detail::is_atomic_int<T>::value) \
  MSL_ATOMIC_FETCH(SPACE, xor, detail::is_atomic_int<T>::value) MSL_ATOMIC_FETCH(SPACE, max, detail::is_atomic_int<T>::value) \
  MSL_ATOMIC_FETCH(SPACE, min, detail::is_atomic_int<T>::value)
MSL_ATOMIC(__global, (msl::same<T, float>::value))
MSL_ATOMIC(__local, false)
void atomic_max_explicit(volatile __global atomic_ulong*, ulong, memory_order);
void atomic_min_explicit(volatile __global atomic_ulong*, ulong, memory_order);

// --- types -----------------------------------------------------------------------------------------------------------
template <class A, class B> struct is_same { static constexpr __constant bool value = msl::same<A, B>::value; };
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <bool B, class T, class F> using conditional_t = typename conditional<B, T, F>::type;
template <class T> struct is_floating_point { static constexpr __constant bool value =
    is_same<T, float>::value || is_same<T, half>::value || is_same<T, bfloat>::value; };
template <class T> struct is_integral { static constexpr __constant bool value = is_same<T, int>::value ||
    is_same<T, uint>::value || is_same<T, short>::value || is_same<T, ushort>::value || is_same<T, char>::value ||
    is_same<T, uchar>::value || is_same<T, long>::value || is_same<T, ulong>::value || is_same<T, bool>::value; };
template <class T> struct make_unsigned;
template <> struct make_unsigned<int> { typedef uint type; };
template <> struct make_unsigned<short> { typedef ushort type; };
template <class T, T V> struct integral_constant { static constexpr __constant T value = V; typedef T value_type; };
typedef integral_constant<bool, true> true_type;
typedef integral_constant<bool, false> false_type;
template <class T> struct numeric_limits {
  static constexpr T min(); static constexpr T max(); static constexpr T lowest(); static constexpr T epsilon();
  static constexpr T infinity(); static constexpr T quiet_NaN(); static constexpr T denorm_min();
};
template <class T, size_t N> struct array {
  T held[N];
  constexpr size_t size() const { return N; }
#define MSL_ELEMENTS(SPACE) SPACE T& operator[](size_t i) SPACE { return held[i]; } \
  const SPACE T& operator[](size_t i) const SPACE { return held[i]; }
  MSL_ELEMENTS(__private) MSL_ELEMENTS(__global) MSL_ELEMENTS(__local)
  const __constant T& operator[](size_t i) const __constant { return held[i]; }
};
template <class T, int C, int R> struct matrix {
  vec<T, R> columns[C];
  matrix(); explicit matrix(T); matrix(vec<T, R>, vec<T, R>); matrix(vec<T, R>, vec<T, R>, vec<T, R>);
  matrix(vec<T, R>, vec<T, R>, vec<T, R>, vec<T, R>);
  __private vec<T, R>& operator[](int i) __private; const __private vec<T, R>& operator[](int i) const __private;
};
template <class T, int C, int R> vec<T, R> operator*(matrix<T, C, R>, vec<T, C>);
template <class T, int C, int R, int K> matrix<T, K, R> operator*(matrix<T, C, R>, matrix<T, K, C>);
template <class T, int C, int R> matrix<T, C, R> operator+(matrix<T, C, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, R, C> transpose(matrix<T, C, R>);
template <class T, int C> T determinant(matrix<T, C, C>);
template <class T> struct msl_packed3 { T x, y, z; msl_packed3(); msl_packed3(T, T, T); msl_packed3(vec<T, 3>); operator vec<T, 3>() const; };
}  // namespace metal
typedef metal::matrix<float, 2, 2> float2x2;
typedef metal::matrix<float, 3, 3> float3x3;
typedef metal::matrix<float, 4, 4> float4x4;
typedef metal::matrix<half, 4, 4> half4x4;
typedef metal::msl_packed3<float> packed_float3;
typedef metal::msl_packed3<half> packed_half3;
typedef float packed_float2 __attribute__((ext_vector_type(2)));
typedef float packed_float4 __attribute__((ext_vector_type(4)));
