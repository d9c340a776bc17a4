// What the generated __global__ functions need: one parameter block with every argument, and where this thread stands.
// Included after <metal_stdlib> and the kernels, with MSL_AREA (bytes for inline data) defined. NVRTC only.
#pragma once
#include "launch.h"
#ifndef MSL_RESIDENT_THREADS
#define MSL_RESIDENT_THREADS 512
#endif
namespace msl {
template <int Slots> struct Block {  // written by cuda.py
  void* slots[Slots];                // an address, or an offset into bytes where the bit of `inlined` is set
  unsigned inlined;
  unsigned threads[3];
  unsigned groups[3];
  unsigned unused;
  alignas(16) unsigned char bytes[MSL_AREA];
};

template <class B> __forceinline__ const void* pointer(const B& block, int i) {
  const void* address = block.slots[i];
#if defined(__CUDACC_RTC__)
  __builtin_assume(__isGlobal(address));  // plain global loads instead of generic ones
#endif
  return address;
}
template <class B> __forceinline__ const void* inlined(const B& block, int i) {
  return block.bytes + (unsigned)(unsigned long long)block.slots[i];
}
template <class B> __forceinline__ const void* either(const B& block, int i) {
  return block.inlined >> i & 1 ? inlined(block, i) : block.slots[i];
}

struct Thread {
  unsigned position[3], group[3], local[3], actual[3], requested[3], threads[3], groups[3], origin[3];
  unsigned index, lane, simdgroup, simdgroups;

  // False for a thread beyond the grid's edge: in Metal it would not exist.
  __forceinline__ bool locate(const unsigned* total, const unsigned* count) {
    group[0] = blockIdx.x, group[1] = blockIdx.y, group[2] = blockIdx.z;
    if ((count[1] > 1 || count[2] > 1) && gridDim.y == 1 && gridDim.z == 1) {  // too many in y or z: launched in a row
      group[1] = blockIdx.x / count[0] % count[1];
      group[2] = blockIdx.x / count[0] / count[1];
      group[0] = blockIdx.x % count[0];
    }
    local[0] = threadIdx.x, local[1] = threadIdx.y, local[2] = threadIdx.z;
    requested[0] = blockDim.x, requested[1] = blockDim.y, requested[2] = blockDim.z;
    bool inside = true;
    for (int d = 0; d < 3; ++d) {
      unsigned start = group[d] * requested[d], rest = total[d] - start;
      position[d] = start + local[d];
      actual[d] = rest < requested[d] ? rest : requested[d];
      inside = inside && local[d] < actual[d];
      threads[d] = total[d];
      groups[d] = count[d];
      origin[d] = 0;
    }
    // Lanes and simdgroups are the hardware's, so they count the threads that a partial 2-D group lacks.
    unsigned linear = (local[2] * requested[1] + local[1]) * requested[0] + local[0];
    index = (local[2] * actual[1] + local[1]) * actual[0] + local[0];
    lane = linear % 32;
    simdgroup = linear / 32;
    unsigned flat = requested[1] * requested[2] == 1 ? actual[0] : requested[0] * requested[1] * requested[2];
    simdgroups = (flat + 31) / 32;
    return inside;
  }
};
}  // namespace msl
