// group-size: Metal Feature Set Tables, 1,024 threads per threadgroup
#include <metal_stdlib>
using namespace metal;
[[max_total_threads_per_threadgroup(2048)]] kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1.0f; }
