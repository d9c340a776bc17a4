// One helper for each address space.
#include <metal_stdlib>
using namespace metal;
inline float first(const device float* v) { return v[0]; }
inline float first(const threadgroup float* v) { return v[0]; }
inline float first(const thread float* v) { return v[0]; }
inline float first(constant float* v) { return v[0]; }
kernel void firsts(device float* x [[buffer(0)]], constant float* c [[buffer(1)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float t[4];
  if (i < 4) t[i] = c[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float own[2] = {1.0f, 2.0f};
  x[i] = first(x) + first(t) + first(own) + first(c);
}
