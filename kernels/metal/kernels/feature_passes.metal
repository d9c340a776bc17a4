// What needs all features of an item before any of them is final: a floor below the largest, or normalisation over
// time. Runs behind the launch that made the features. Deterministic.

#define MSP_LIMIT_THREADS 256
#define MSP_STRIPS 32  // of frames, each with MSP_LIMIT_THREADS / MSP_STRIPS features side by side

// The largest of what the threads hold, in found[0]: a NaN counts as the largest, as in torch.amax.
inline void msp_find_largest(threadgroup float* found, float largest, uint thread_index) {
  found[thread_index] = largest;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint width = MSP_LIMIT_THREADS / 2; width > 0; width /= 2) {
    if (thread_index < width) {
      const float value = found[thread_index + width];
      if (value > found[thread_index] || value != value) found[thread_index] = value;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// factor * log(max(x, amin)) + offset, and the largest of every threadgroup.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_decibels(
    const device float* input [[buffer(0)]],
    device float* output [[buffer(1)]],
    device float* maxima [[buffer(2)]],
    constant MspDecibelParams& params [[buffer(3)]],
    constant MspDecibelScale& scale [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];

  const int item = int(group) / params.groups;
  const int begin = (int(group) - item * params.groups) * MSP_LIMIT_THREADS + int(thread_index);
  float largest = -INFINITY;
  for (int i = begin; i < params.count; i += params.groups * MSP_LIMIT_THREADS) {
    const float value = input[item * params.count + i];
    const float result = scale.factor * metal::log(value < scale.amin ? scale.amin : value) + scale.offset;
    output[item * params.count + i] = result;
    largest = result > largest || result != result ? result : largest;
  }
  msp_find_largest(found, largest, thread_index);
  if (thread_index == 0) maxima[group] = found[0];
}

// Features below their item's largest less `range` become that, then all are scaled: NaN as in torch.maximum and amax.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_limit(
    device float* features [[buffer(0)]],
    const device float* maxima [[buffer(1)]],
    constant MspLimitParams& params [[buffer(2)]],
    constant MspLimitScale& scale [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];

  const int item = int(group) / params.groups;
  float largest = -INFINITY;
  for (int i = int(thread_index); i < params.listed; i += MSP_LIMIT_THREADS) {
    const float value = maxima[item * params.listed + i];
    largest = value > largest || value != value ? value : largest;
  }
  msp_find_largest(found, largest, thread_index);
  const float floor_value = found[0] - scale.below;

  device float* own = features + item * params.count;
  const int begin = (int(group) - item * params.groups) * MSP_LIMIT_THREADS + int(thread_index);
  for (int i = begin; i < params.count; i += params.groups * MSP_LIMIT_THREADS) {
    const float value = own[i];
    own[i] = (value >= floor_value || value != value ? value : floor_value) * scale.factor + scale.offset;
  }
}

// Every feature less its mean over the frames of its row, divided by its (unbiased) deviation and a little.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_standardise(
    device float* features [[buffer(0)]],
    constant MspStandardiseParams& params [[buffer(1)]],
    constant float& eps [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];
  const int columns = MSP_LIMIT_THREADS / MSP_STRIPS;

  const int row = int(group) / params.groups;
  const int column = int(thread_index) % columns, strip = int(thread_index) / columns;
  const int feature = (int(group) - row * params.groups) * columns + column;
  device float* own = features + row * params.frames * params.width + feature;
  const bool live = feature < params.width;

  float mean = 0.0f, deviation = 0.0f;
  for (int pass = 0; pass < 2; ++pass) {
    float sum = 0.0f;
    for (int frame = strip; live && frame < params.frames; frame += MSP_STRIPS) {
      const float value = own[frame * params.width] - mean;
      sum += pass == 0 ? value : value * value;
    }
    found[thread_index] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float total = 0.0f;
    for (int i = 0; i < MSP_STRIPS; ++i) total += found[i * columns + column];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (pass == 0) mean = total / float(params.frames);
    else deviation = metal::sqrt(total / float(params.frames - 1));
  }
  for (int frame = strip; live && frame < params.frames; frame += MSP_STRIPS) {
    own[frame * params.width] = (own[frame * params.width] - mean) / (deviation + eps);
  }
}
