// program-scope: MSL 4.2, a static member lies in constant memory
#include <metal_stdlib>
using namespace metal;
struct Sizes { static constexpr int N = 4; };
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = Sizes::N; }
