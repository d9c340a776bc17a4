// A class that holds a pointer and moves tiles, as matrix kernels have.
#include <metal_stdlib>
using namespace metal;
template <typename T, int ROWS, int COLUMNS> struct TileLoader {
  const device T* source;
  threadgroup T* target;
  const int stride;
  const ushort thread_index;
  TileLoader(const device T* source_, int stride_, threadgroup T* target_, ushort index)
      : source(source_), target(target_), stride(stride_), thread_index(index) {}
  void load() const {
    for (int k = thread_index; k < ROWS * COLUMNS; k += 32) target[k] = source[(k / COLUMNS) * stride + k % COLUMNS];
  }
  void next() { source += COLUMNS; }
};
kernel void load(const device float* x [[buffer(0)]], device float* y [[buffer(1)]], constant int& tiles [[buffer(2)]],
                 ushort l [[thread_index_in_threadgroup]]) {
  threadgroup float tile[8 * 8];
  TileLoader<float, 8, 8> loader(x, 64, tile, l);
  float sum = 0;
  for (int t = 0; t < tiles; ++t) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    loader.load();
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum += tile[l];
    loader.next();
  }
  y[l] = sum;
}
