// Structs read from and written to device memory.
#include <metal_stdlib>
using namespace metal;
struct Particle { float3 position; float3 velocity; float mass; };
kernel void integrate(device Particle* particles [[buffer(0)]], constant float& step_size [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  Particle p = particles[i];
  p.position += p.velocity * step_size;
  p.velocity *= 0.99f;
  particles[i] = p;
}
