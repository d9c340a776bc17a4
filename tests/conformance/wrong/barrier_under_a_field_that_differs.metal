// barrier: undefined, MSL 6.9.1: all threads come to a barrier, also where a field of a struct says which
#include <metal_stdlib>
using namespace metal;
struct Where { int lane; int count; };
kernel void f(device float* x [[buffer(0)]], constant int* p [[buffer(1)]], uint l [[thread_index_in_threadgroup]]) {
  threadgroup float t[64];
  Where where;
  where.count = p[0];
  where.lane = int(l);
  t[l] = x[l];
  if (where.lane < 32) threadgroup_barrier(mem_flags::mem_threadgroup);
  x[l] = t[63 - l];
}
