// One template for several types, each with a host name.
#include <metal_stdlib>
using namespace metal;
template <typename T>
kernel void scale(device T* x [[buffer(0)]], constant float& factor [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  x[i] = static_cast<T>(static_cast<float>(x[i]) * factor);
}
#define instantiate_scale(name, T) template [[host_name("scale_" #name)]] [[kernel]] decltype(scale<T>) scale<T>;
instantiate_scale(float32, float)
instantiate_scale(float16, half)
instantiate_scale(bfloat16, bfloat)
