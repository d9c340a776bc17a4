// Finds the type of a kernel's n-th parameter and turns an address or a builtin into it; shared by the host and CUDA
// launchers. Included after <metal_stdlib> and the kernels. Knows nothing of where an address comes from.
#pragma once
namespace msl {
template <int I, class... A> struct nth;
template <class First, class... Rest> struct nth<0, First, Rest...> { typedef First type; };
template <int I, class First, class... Rest> struct nth<I, First, Rest...> : nth<I - 1, Rest...> {};

template <int I, class F> struct parameter_of;
template <int I, class R, class... A> struct parameter_of<I, R (*)(A...)> : nth<I, A...> {};
template <int I, class F> using parameter = typename parameter_of<I, F>::type;

template <class A> struct bound {
  static_assert(sizeof(A) == 0, "a kernel parameter is a pointer, a reference or a builtin such as thread_position_in_grid");
};
template <class T> struct bound<T*> { static T* at(const void* address) { return (T*)address; } };
template <class T> struct bound<T&> { static T& at(const void* address) { return *(T*)address; } };
template <class A> A buffer(const void* address) { return bound<A>::at(address); }

// A builtin as the type the kernel asks for it in: a scalar or vector of any integers.
template <class P> MSL_INLINE P builtin(unsigned value) { return (P)value; }
template <class P> MSL_INLINE P builtin(const unsigned (&at)[3]) {
  constexpr int n = count_of<metal::decay_t<P>>;
  if constexpr (n == 3) return P(at[0], at[1], at[2]);
  else if constexpr (n == 2) return P(at[0], at[1]);
  else return P(at[0]);
}
}  // namespace msl
