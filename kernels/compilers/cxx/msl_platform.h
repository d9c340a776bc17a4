// What the rest of the Metal header stands on: the target switch, fixed-width types and the few traits needed. Contains no
// Metal function. Nothing of the C++ standard library is used, so that after `using namespace metal;` a plain sin(x) means
// metal::sin and nothing else (on NVRTC, which declares such names itself, entry_points.py renames them).
#pragma once

#if defined(__CUDACC_RTC__)
#define MSL_CUDA 1
#define MSL_KERNEL static __forceinline__
#define MSL_INLINE __forceinline__
#define MSL_LIBM(name) ::name
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef long ptrdiff_t;
#else
#define MSL_CUDA 0
#define MSL_KERNEL
#define MSL_INLINE inline __attribute__((always_inline))
#define MSL_LIBM(name) __builtin_##name
#include <stddef.h>
#include <stdint.h>
#endif

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
static_assert(sizeof(long) == 8, "Metal's long has 64 bits: this compiler's has not");

namespace metal {
using ::int8_t, ::int16_t, ::int32_t, ::int64_t, ::uint8_t, ::uint16_t, ::uint32_t, ::uint64_t;
using ::ptrdiff_t, ::uchar, ::ushort, ::uint, ::ulong;
typedef decltype(sizeof(0)) size_t;

struct half;
struct bfloat;
template <class T, int N> struct vec;

// --- metal_type_traits -------------------------------------------------------------------------------------------------
template <class T, T v> struct integral_constant {
  static constexpr T value = v;
  typedef T value_type;
  typedef integral_constant type;
  constexpr operator T() const { return v; }
};
template <bool b> using bool_constant = integral_constant<bool, b>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <bool c, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool c, class T = void> using enable_if_t = typename enable_if<c, T>::type;
template <bool c, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool c, class A, class B> using conditional_t = typename conditional<c, A, B>::type;
template <class...> using void_t = void;
template <class A, class B> struct is_same : false_type {};
template <class A> struct is_same<A, A> : true_type {};
template <class A, class B> constexpr bool is_same_v = is_same<A, B>::value;
template <class T> struct remove_const { typedef T type; };
template <class T> struct remove_const<const T> { typedef T type; };
template <class T> struct remove_volatile { typedef T type; };
template <class T> struct remove_volatile<volatile T> { typedef T type; };
template <class T> struct remove_cv { typedef typename remove_volatile<typename remove_const<T>::type>::type type; };
template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T&> { typedef T type; };
template <class T> struct remove_reference<T&&> { typedef T type; };
template <class T> struct remove_pointer { typedef T type; };
template <class T> struct remove_pointer<T*> { typedef T type; };
template <class T> using remove_const_t = typename remove_const<T>::type;
template <class T> using remove_volatile_t = typename remove_volatile<T>::type;
template <class T> using remove_cv_t = typename remove_cv<T>::type;
template <class T> using remove_reference_t = typename remove_reference<T>::type;
template <class T> using remove_pointer_t = typename remove_pointer<T>::type;
template <class T> using decay_t = remove_cv_t<remove_reference_t<T>>;
template <class T> struct is_const : false_type {};
template <class T> struct is_const<const T> : true_type {};
template <class T> struct is_pointer : false_type {};
template <class T> struct is_pointer<T*> : true_type {};
template <class T> struct make_unsigned { typedef T type; };
template <class T> struct make_signed { typedef T type; };
}  // namespace metal

namespace msl {
template <class T> struct identity { typedef T type; };
template <class T> using same_t = typename identity<T>::type;  // a parameter that is not deduced

enum kind { not_a_number, integer, floating };
template <class T> constexpr kind kind_of = not_a_number;
template <class T> constexpr kind kind_of<const T> = kind_of<T>;
template <class T> constexpr kind kind_of<volatile T> = kind_of<T>;
#define MSL_INTEGERS(F) F(bool) F(char) F(signed char) F(uchar) F(short) F(ushort) F(int) F(uint) F(long) F(ulong) F(long long) F(unsigned long long)
#define MSL_KIND(T) template <> constexpr kind kind_of<T> = integer;
MSL_INTEGERS(MSL_KIND)
#undef MSL_KIND
template <> constexpr kind kind_of<float> = floating;
template <> constexpr kind kind_of<double> = floating;  // only ever a literal without a suffix: Metal has no double
template <> constexpr kind kind_of<metal::half> = floating;
template <> constexpr kind kind_of<metal::bfloat> = floating;
template <class T> constexpr bool is_integer = kind_of<T> == integer;
template <class T> constexpr bool is_floating = kind_of<T> == floating;
template <class T> constexpr bool is_number = kind_of<T> != not_a_number;
template <class T> constexpr bool is_builtin = is_number<T>;
template <> constexpr bool is_builtin<metal::half> = false;
template <> constexpr bool is_builtin<metal::bfloat> = false;

template <class To, class From> MSL_INLINE To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as_type: both types must have the same size");
  To to;
#if MSL_CUDA
  ::memcpy(&to, &from, sizeof(To));
#else
  __builtin_memcpy(&to, &from, sizeof(To));
#endif
  return to;
}
}  // namespace msl

namespace metal {
template <class T> struct is_integral : bool_constant<msl::is_integer<T>> {};
template <class T> struct is_floating_point : bool_constant<msl::is_floating<T>> {};
template <class T> struct is_arithmetic : bool_constant<msl::is_number<T>> {};
template <class T> struct is_scalar : bool_constant<msl::is_number<T> || is_pointer<T>::value> {};
template <class T> struct is_signed : bool_constant<msl::is_floating<T>> {};
template <class T> struct is_unsigned : false_type {};
#define MSL_SIGNS(S, U)                                       \
  template <> struct make_unsigned<S> { typedef U type; };    \
  template <> struct make_signed<U> { typedef S type; };      \
  template <> struct is_signed<S> : true_type {};             \
  template <> struct is_unsigned<U> : true_type {};
MSL_SIGNS(signed char, uchar)
MSL_SIGNS(short, ushort)
MSL_SIGNS(int, uint)
MSL_SIGNS(long, ulong)
MSL_SIGNS(long long, unsigned long long)
#undef MSL_SIGNS
template <> struct make_unsigned<char> { typedef uchar type; };
template <> struct is_signed<char> : true_type {};
template <> struct is_unsigned<bool> : true_type {};
template <class T> using make_unsigned_t = typename make_unsigned<T>::type;
template <class T> using make_signed_t = typename make_signed<T>::type;
template <class T> constexpr bool is_integral_v = is_integral<T>::value;
template <class T> constexpr bool is_floating_point_v = is_floating_point<T>::value;
template <class T> constexpr bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T> constexpr bool is_signed_v = is_signed<T>::value;
template <class T> constexpr bool is_unsigned_v = is_unsigned<T>::value;

template <class To, class From> MSL_INLINE To as_type(const From& from) { return msl::bits<To>(from); }

template <class T, size_t N> struct array {
  T msl_elements[N];
  constexpr T& operator[](size_t i) { return msl_elements[i]; }
  constexpr const T& operator[](size_t i) const { return msl_elements[i]; }
  constexpr size_t size() const { return N; }
  constexpr bool empty() const { return N == 0; }
  constexpr T* data() { return msl_elements; }
  constexpr const T* data() const { return msl_elements; }
  constexpr T* begin() { return msl_elements; }
  constexpr const T* begin() const { return msl_elements; }
  constexpr T* end() { return msl_elements + N; }
  constexpr const T* end() const { return msl_elements + N; }
};
}  // namespace metal

using metal::as_type;
