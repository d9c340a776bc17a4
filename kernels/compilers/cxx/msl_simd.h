// Barriers, simdgroup and quadgroup functions, threadgroup variables and thread positions: everything where the threads of a
// group meet. On the CPU they meet through the Runtime table that the simulator fills in; on NVRTC through CUDA's warps.
#ifndef MSL_SIMD_H
#define MSL_SIMD_H

#if MSL_CUDA
#define MSL_LINE
#define MSL_LINE_ONLY
#define MSL_PASS_LINE
#else
// Lanes that diverged to different source lines are in different operations: the caller's line tells them apart. A type of
// its own, so that no argument of Metal's is ever taken for it.
namespace msl {
struct Line {
  int number;
  MSL_INLINE constexpr explicit Line(int n) : number(n) {}  // round brackets: in curly ones g++ 12 takes the header's line
};
}  // namespace msl
#define MSL_LINE , msl::Line line = msl::Line(__builtin_LINE())
#define MSL_LINE_ONLY msl::Line line = msl::Line(__builtin_LINE())
#define MSL_PASS_LINE , line
#endif

namespace metal {
enum class mem_flags : uint {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_texture = 4,
  mem_threadgroup_imageblock = 8,
  mem_object_data = 16
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }
constexpr mem_flags operator&(mem_flags a, mem_flags b) { return mem_flags(uint(a) & uint(b)); }
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device, thread_scope_system };
enum memory_order { memory_order_relaxed, memory_order_acquire, memory_order_release, memory_order_acq_rel, memory_order_seq_cst };
}  // namespace metal

#if !MSL_CUDA
#include <typeinfo>

namespace msl {
struct Runtime {  // filled by the simulator right after the library is loaded
  void (*threadgroup_barrier)(int line);
  void (*simdgroup_barrier)(int line);
  // Deposits `size` (<= 64) bytes and waits until every active lane of this simdgroup is here; returns the deposits, 64 bytes
  // apart by lane, valid until this lane's next simd operation. *active: the lanes that took part; *lane: this one.
  const void* (*simd_exchange)(const void* value, int size, int line, unsigned* active, unsigned* lane);
  char* (*threadgroup_base)();  // start of this threadgroup's memory
};
static Runtime runtime;  // one per library, which is one translation unit

struct ThreadgroupVariable {
  const char* owner;  // mangled name of a struct local to the kernel, hence of the kernel
  unsigned long size, align, offset;
  ThreadgroupVariable* next;
};
static ThreadgroupVariable* threadgroup_variables;

// Hidden, or the dynamic linker would make one object of two libraries' variables.
template <class Tag, class T> struct __attribute__((visibility("hidden"))) Registered {
  ThreadgroupVariable variable;
  Registered() : variable{typeid(Tag).name(), sizeof(T), alignof(T), 0, threadgroup_variables} { threadgroup_variables = &variable; }
  static Registered instance;
};
template <class Tag, class T> Registered<Tag, T> Registered<Tag, T>::instance;
template <class Tag, class T> MSL_INLINE T& threadgroup_variable() {
  return *(T*)(runtime.threadgroup_base() + Registered<Tag, T>::instance.variable.offset);
}
}  // namespace msl
#endif

namespace msl {
template <class P> struct position_maker {
  static MSL_INLINE P make(unsigned x, unsigned, unsigned) { return P(x); }
};
template <class T> struct position_maker<metal::vec<T, 2>> {
  static MSL_INLINE metal::vec<T, 2> make(unsigned x, unsigned y, unsigned) { return metal::vec<T, 2>(T(x), T(y)); }
};
template <class T> struct position_maker<metal::vec<T, 3>> {
  static MSL_INLINE metal::vec<T, 3> make(unsigned x, unsigned y, unsigned z) { return metal::vec<T, 3>(T(x), T(y), T(z)); }
};
template <class P> MSL_INLINE P position(unsigned x, unsigned y, unsigned z) {
  return position_maker<metal::decay_t<P>>::make(x, y, z);
}
}  // namespace msl

namespace metal {
MSL_INLINE void threadgroup_barrier(mem_flags MSL_LINE) {
#if MSL_CUDA
  __syncthreads();
#else
  msl::runtime.threadgroup_barrier(line.number);
#endif
}
MSL_INLINE void threadgroup_barrier(mem_flags, thread_scope MSL_LINE) { threadgroup_barrier(mem_flags::mem_none MSL_PASS_LINE); }
MSL_INLINE void simdgroup_barrier(mem_flags MSL_LINE) {
#if MSL_CUDA
  __syncwarp();
#else
  msl::runtime.simdgroup_barrier(line.number);
#endif
}
MSL_INLINE void simdgroup_barrier(mem_flags, thread_scope MSL_LINE) { simdgroup_barrier(mem_flags::mem_none MSL_PASS_LINE); }
}  // namespace metal

#endif
