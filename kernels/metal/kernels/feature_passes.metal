// What needs all features of an item before any of them is final: a floor below the largest, or normalisation over
// time. Runs behind the launch that made the features. Deterministic.

#include "features/extremes.metal"
#include "registers.metal"

#define MSP_LIMIT_THREADS 256
#define MSP_LIMIT_AT_ONCE 8  // features of a thread, so that it waits for memory once
#define MSP_STRIPS 32  // of frames, each with MSP_LIMIT_THREADS / MSP_STRIPS features side by side

// factor * log(max(x, amin)) + offset, and the extremes of every threadgroup's part of an item.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_decibels(
    const device float* input [[buffer(0)]],
    device float* output [[buffer(1)]],
    device float2* extremes [[buffer(2)]],
    constant MspDecibelParams& params [[buffer(3)]],
    constant MspDecibelScale& scale [[buffer(4)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 found[MSP_LIMIT_THREADS];

  const int item = int(group) / params.parts;
  const int begin = (int(group) - item * params.parts) * params.part, end = min(begin + params.part, params.count);
  float2 met = MSP_NO_EXTREMES;
  for (int i = begin + int(thread_index); i < end; i += MSP_LIMIT_THREADS) {
    const float value = input[item * params.count + i];
    const float result = scale.factor * metal::log(value < scale.amin ? scale.amin : value) + scale.offset;
    output[item * params.count + i] = result;
    met = msp_extremes(met, float2(result, result));
  }
  msp_find_extremes(found, met, MSP_LIMIT_THREADS, int(thread_index));
  if (thread_index == 0) extremes[group] = found[0];
}

// Features below their item's largest less `below` become that, then all are scaled: NaN as in torch.maximum and amax.
// An item consists of rows, and a row of parts, the last of which may be shorter. What stays as it is is not written, and
// a part that does is not read.
[[max_total_threads_per_threadgroup(MSP_LIMIT_THREADS)]]
kernel void msp_limit(
    device float* features [[buffer(0)]],
    const device float2* extremes [[buffer(1)]],  // params.listed of each item
    constant MspLimitParams& params [[buffer(2)]],
    constant MspLimitScale& scale [[buffer(3)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 found[MSP_LIMIT_THREADS];

  const int item = int(group) / params.groups, first_part = int(group) - item * params.groups;
  const device float2* listed = extremes + item * params.listed;
  float2 met = MSP_NO_EXTREMES;
  for (int first = int(thread_index); first < params.listed; first += MSP_LIMIT_AT_ONCE * MSP_LIMIT_THREADS) {
    MSP_UNROLL
    for (int i = 0; i < MSP_LIMIT_AT_ONCE; ++i) {
      const int k = first + i * MSP_LIMIT_THREADS;
      met = msp_extremes(met, k < params.listed ? listed[k] : MSP_NO_EXTREMES);
    }
  }
  msp_find_extremes(found, met, MSP_LIMIT_THREADS, int(thread_index));
  const float floor_value = found[0].x - scale.below;
  const bool is_scaled = scale.factor != 1.0f || scale.offset != 0.0f;

  for (int part = first_part; part < params.parts; part += params.groups) {
    if (!is_scaled && params.are_listed != 0 && listed[part].y >= floor_value) continue;
    const int row = part / params.row_parts;
    const int begin = (part - row * params.row_parts) * params.part, end = min(begin + params.part, params.row);
    device float* own = features + item * params.count + row * params.row;
    for (int first = begin + int(thread_index); first < end; first += MSP_LIMIT_AT_ONCE * MSP_LIMIT_THREADS) {
      float value[MSP_LIMIT_AT_ONCE];
      MSP_UNROLL
      for (int i = 0; i < MSP_LIMIT_AT_ONCE; ++i) {
        const int k = first + i * MSP_LIMIT_THREADS;
        value[i] = k < end ? own[k] : floor_value;
      }
      MSP_UNROLL
      for (int i = 0; i < MSP_LIMIT_AT_ONCE; ++i) {
        const int k = first + i * MSP_LIMIT_THREADS;
        const bool stays = value[i] >= floor_value || value[i] != value[i];
        if (k < end && (is_scaled || !stays)) {
          own[k] = (stays ? value[i] : floor_value) * scale.factor + scale.offset;
        }
      }
    }
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
