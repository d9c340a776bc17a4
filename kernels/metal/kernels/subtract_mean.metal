// Every feature less its mean over the frames of its row, in place: [rows, frames, width]. Deterministic.

#define MSP_MEAN_THREADS 256
#define MSP_STRIPS 32  // of frames, each with MSP_MEAN_THREADS / MSP_STRIPS features side by side

[[max_total_threads_per_threadgroup(MSP_MEAN_THREADS)]]
kernel void msp_subtract_mean(
    device float* features [[buffer(0)]],
    constant MspMeanParams& params [[buffer(1)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_MEAN_THREADS];
  const int columns = MSP_MEAN_THREADS / MSP_STRIPS;

  const int row = int(group) / params.groups;
  const int column = int(thread_index) % columns, strip = int(thread_index) / columns;
  const int feature = (int(group) - row * params.groups) * columns + column;
  device float* own = features + row * params.frames * params.width + feature;
  const bool live = feature < params.width;

  float sum = 0.0f;
  for (int frame = strip; live && frame < params.frames; frame += MSP_STRIPS) sum += own[frame * params.width];
  found[thread_index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float total = 0.0f;
  for (int i = 0; i < MSP_STRIPS; ++i) total += found[i * columns + column];
  const float mean = total / float(params.frames);
  for (int frame = strip; live && frame < params.frames; frame += MSP_STRIPS) own[frame * params.width] -= mean;
}
