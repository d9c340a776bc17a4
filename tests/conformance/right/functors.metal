// Operations as structs with operator(), as array libraries have them.
#include <metal_stdlib>
using namespace metal;
struct Add { template <typename T> T operator()(T a, T b) { return a + b; } };
struct Square { template <typename T> T operator()(T a) { return a * a; } };
struct Sign { float operator()(float a) { return float((a > 0) - (a < 0)); } int operator()(int a) { return (a > 0) - (a < 0); } };
template <typename T, typename Op> [[kernel]] void unary(const device T* in, device T* out, uint i [[thread_position_in_grid]]) {
  out[i] = Op()(in[i]);
}
template <typename T, typename Op>
[[kernel]] void binary(const device T* a, const device T* b, device T* out, uint i [[thread_position_in_grid]]) {
  out[i] = Op()(a[i], b[i]);
}
template [[host_name("square_float")]] [[kernel]] decltype(unary<float, Square>) unary<float, Square>;
template [[host_name("sign_int")]] [[kernel]] decltype(unary<int, Sign>) unary<int, Sign>;
template [[host_name("add_half")]] [[kernel]] decltype(binary<half, Add>) binary<half, Add>;
