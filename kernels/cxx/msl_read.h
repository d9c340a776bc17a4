// Reads of memory that nobody writes while a kernel runs, of which NVIDIA's compiler does not know: it may move them, ahead
// of barriers too. Other compilers read as ever.
#ifndef MSL_READ_H
#define MSL_READ_H

#if MSL_CUDA
namespace metal {
MSL_INLINE float msl_read(const float* from) {
  float value;
  asm("ld.global.nc.f32 %0, [%1];" : "=f"(value) : "l"(from));
  return value;
}
MSL_INLINE float2 msl_read(const float2* from) {
  float x, y;
  asm("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(x), "=f"(y) : "l"(from));
  return float2(x, y);
}
}  // namespace metal
#define MSL_READ(TABLE, INDEX) metal::msl_read((TABLE) + (INDEX))
#endif

#endif
