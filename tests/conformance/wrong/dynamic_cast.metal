// cplusplus: MSL 1.4, no run-time type information
#include <metal_stdlib>
using namespace metal;
struct A { int a; }; struct B : A { int b; };
kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { B b; thread A* a = dynamic_cast<thread A*>(&b); x[i] = a->a; }
