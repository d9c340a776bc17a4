// Reads of memory that nobody writes while a kernel runs, of which NVIDIA's assembler may then make several at once, ahead
// of barriers. Other compilers read as ever. `volatile`: without it, or with __ldg, the compiler before the assembler takes
// such a read out of loops, for which there are no registers, and makes it where the program would not.
#pragma once

#if MSL_CUDA
namespace metal {
MSL_INLINE float msl_read(const float* from) {
  float value;
  asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(value) : "l"(from));
  return value;
}
MSL_INLINE float2 msl_read(const float2* from) {
  float x, y;
  asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(x), "=f"(y) : "l"(from));
  return float2(x, y);
}
}  // namespace metal
#define MSL_READ(TABLE, INDEX) metal::msl_read((TABLE) + (INDEX))
#endif
