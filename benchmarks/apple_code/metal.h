// Metal's library as far as the package's kernels use it, with bodies, in C++ for OpenCL: in front of a text that
// opencl.py has written.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
struct bfloat {
  ushort bits;
  operator float() const __global { return as_float((uint)bits << 16); }
};

// OpenCL's positions have 64 bits. A function that clang does not put in place hides that from its masks; Mesa does
// put it in place.
__attribute__((noinline)) uint agx_group() { return (uint)get_group_id(0); }
__attribute__((noinline)) uint agx_thread() { return (uint)get_local_id(0); }

namespace msl {
template <class T> struct parts { typedef T element; };
template <class T, int N> struct parts<T __attribute__((ext_vector_type(N)))> { typedef T element; };
template <class V> inline V make(typename parts<V>::element a) { return (V)(a); }
template <class V> inline V make(typename parts<V>::element a, typename parts<V>::element b) {
  V v; v.x = a; v.y = b; return v;
}
template <class V> inline V make(typename parts<V>::element a, typename parts<V>::element b, typename parts<V>::element c,
                                 typename parts<V>::element d) {
  V v; v.x = a; v.y = b; v.z = c; v.w = d; return v;
}
}  // namespace msl

#define MSL_INFINITY (__builtin_inff())

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
inline constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
inline void threadgroup_barrier(mem_flags f) {
  if (f == mem_flags::mem_threadgroup) barrier(CLK_LOCAL_MEM_FENCE);
  else if (f == mem_flags::mem_device) barrier(CLK_GLOBAL_MEM_FENCE);
  else barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
}
inline void simdgroup_barrier(mem_flags) { sub_group_barrier(CLK_LOCAL_MEM_FENCE); }
float __attribute__((overloadable)) sub_group_shuffle_xor(float value, uint mask);
inline float simd_shuffle_xor(float value, ushort mask) { return sub_group_shuffle_xor(value, (uint)mask); }

namespace metal {
inline float fabs(float x) { return ::fabs(x); }
inline float sqrt(float x) { return ::native_sqrt(x); }
inline float rsqrt(float x) { return ::native_rsqrt(x); }
inline float log(float x) { return ::native_log(x); }
inline float pow(float x, float y) { return ::native_powr(x, y); }
}  // namespace metal
#define float2(...) msl::make<float2>(__VA_ARGS__)
#define half2(...) msl::make<half2>(__VA_ARGS__)
#define float4(...) msl::make<float4>(__VA_ARGS__)
