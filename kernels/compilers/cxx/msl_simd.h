// Barriers, simdgroup and quadgroup functions, threadgroup variables and thread positions: everything where the threads of a
// group meet. On the CPU they meet through the Runtime table that the simulator fills in; on NVRTC through CUDA's warps.
#pragma once

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
#include "runtime.h"

namespace msl {
static Runtime runtime;  // one per library, which is one translation unit; filled by the simulator once it is loaded
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

namespace metal {
MSL_INLINE void threadgroup_barrier(mem_flags, thread_scope = thread_scope_threadgroup MSL_LINE) {
#if MSL_CUDA
  __syncthreads();
#else
  msl::runtime.threadgroup_barrier(line.number);
#endif
}
MSL_INLINE void simdgroup_barrier(mem_flags, thread_scope = thread_scope_simdgroup MSL_LINE) {
#if MSL_CUDA
  __syncwarp();
#else
  msl::runtime.simdgroup_barrier(line.number);
#endif
}
}  // namespace metal
