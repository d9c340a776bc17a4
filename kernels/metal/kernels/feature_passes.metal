// What needs all features of an item before any of them is final: a floor below the largest, or normalisation over time.
// After the launch that made the features, and deterministic.

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
    constant int* params [[buffer(3)]],
    constant float* reals [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];
  const int count = params[0];   // values of an item
  const int groups = params[1];  // per item
  const float amin = reals[0], factor = reals[1], offset = reals[2];

  const int item = int(group) / groups;
  const int begin = (int(group) - item * groups) * MSP_LIMIT_THREADS + int(thread_index);
  float largest = -INFINITY;
  for (int i = begin; i < count; i += groups * MSP_LIMIT_THREADS) {
    const float value = input[item * count + i];
    const float result = factor * metal::log(value < amin ? amin : value) + offset;
    output[item * count + i] = result;
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
    constant int* params [[buffer(2)]],
    constant float* reals [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];
  const int count = params[0];   // features of an item
  const int listed = params[1];  // maxima of an item
  const int groups = params[2];  // per item
  const float range = reals[0], factor = reals[1], offset = reals[2];

  const int item = int(group) / groups;
  float largest = -INFINITY;
  for (int i = int(thread_index); i < listed; i += MSP_LIMIT_THREADS) {
    const float value = maxima[item * listed + i];
    largest = value > largest || value != value ? value : largest;
  }
  msp_find_largest(found, largest, thread_index);
  const float floor_value = found[0] - range;

  device float* own = features + item * count;
  const int begin = (int(group) - item * groups) * MSP_LIMIT_THREADS + int(thread_index);
  for (int i = begin; i < count; i += groups * MSP_LIMIT_THREADS) {
    const float value = own[i];
    own[i] = (value >= floor_value || value != value ? value : floor_value) * factor + offset;
  }
}

// Every feature less its mean over the frames of its row, divided by its (unbiased) deviation and a little.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_standardise(
    device float* features [[buffer(0)]],
    constant int* params [[buffer(1)]],
    constant float* reals [[buffer(2)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_LIMIT_THREADS];
  const int columns = MSP_LIMIT_THREADS / MSP_STRIPS;
  const int width = params[0];   // features of a frame
  const int frames = params[1];  // of a row
  const int groups = params[2];  // per row
  const float eps = reals[0];

  const int row = int(group) / groups;
  const int column = int(thread_index) % columns, strip = int(thread_index) / columns;
  const int feature = (int(group) - row * groups) * columns + column;
  device float* own = features + row * frames * width + feature;
  const bool live = feature < width;

  float mean = 0.0f, deviation = 0.0f;
  for (int pass = 0; pass < 2; ++pass) {
    float sum = 0.0f;
    for (int frame = strip; live && frame < frames; frame += MSP_STRIPS) {
      const float value = own[frame * width] - mean;
      sum += pass == 0 ? value : value * value;
    }
    found[thread_index] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float total = 0.0f;
    for (int i = 0; i < MSP_STRIPS; ++i) total += found[i * columns + column];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (pass == 0) mean = total / float(frames);
    else deviation = metal::sqrt(total / float(frames - 1));
  }
  for (int frame = strip; live && frame < frames; frame += MSP_STRIPS) {
    own[frame * width] = (own[frame * width] - mean) / (deviation + eps);
  }
}
