// Kaldi's filterbank energies in one launch: as kernels/features.metal, with the steps that belong to a frame alone. Its
// mean is subtracted, pre-emphasis starts anew with its first sample, and its energy may be a feature.
//
// In numpy, for the samples x of one frame, which is as long as the window:
//
//   x = x - x.mean()                                       # remove_dc
//   energy = sum(x**2)                                     # energy 1
//   x = x - preemphasis * concatenate([x[:1], x[:-1]])
//   x = x * window
//   energy = sum(x**2)                                     # energy 2
//   bands = scaled(basis @ abs(rfft(x, n_fft)) ** power)   # see features/features.metal
//   features = concatenate([[max(log(max(energy, amin)), energy_floor)], bands])   # or the energy last, or without it
//
// A row that a frame reaches beyond goes on backwards from its last sample: ..., x[1], x[0], x[0], x[1], ...

#include "features/features.metal"
#include "features/spectrum.metal"

#define MSP_ENERGY_RAW 1
#define MSP_ENERGY_WINDOWED 2

inline float msp_mirrored_sample(const device MSP_SAMPLE* row, int t, int samples) {
  const int from_start = t < 0 ? -1 - t : t;
  return float(row[from_start < samples ? from_start : 2 * samples - 1 - from_start]);
}

// The sum of what the lanes of a frame hold, in the order of the lanes. memory: of the frame, which nobody reads.
inline float msp_sum_of_lanes(float part, threadgroup float* memory, int lane) {
  memory[lane] = part;
  MSP_SYNC();
  float sum = 0.0f;
  for (int i = 0; i < MSP_LANES; ++i) sum += memory[i];
  MSP_SYNC();
  return sum;
}

MSP_INLINE float msp_energy_of_lane(const thread float2* v) {
  float sum = 0.0f;
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) sum += v[q].x * v[q].x + v[q].y * v[q].y;
  return sum;
}

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_kaldi(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device int4* band_layout [[buffer(4)]],
    const device float2* band_weights [[buffer(5)]],
    device float* output [[buffer(6)]],
    constant MspKaldiParams& params [[buffer(7)]],
    constant MspFeatureScale& scaling [[buffer(8)]],
    constant MspKaldiScale& kaldi [[buffer(9)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 memory[MSP_FRAMES * MSP_SLOT_PAIRS];

  const MspFeatures features = msp_wanted_features(MSP_BINS, params, scaling);
  const MspBands bands = {band_layout, band_weights, (const device int*)band_layout, window};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup float2* own = memory + slot * MSP_SLOT_PAIRS;
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)own;

  const int row_index = int(group) / params.groups;
  const int first = (int(group) - row_index * params.groups) * params.steps * MSP_FRAMES + slot;
  const device MSP_SAMPLE* row = input + row_index * params.row_stride;
  const int length = params.win_length;
  const bool has_energy = params.energy != 0, energy_first = has_energy && params.energy_last == 0;

  float2 weight[MspFirst::COUNT];  // a lane's part of the window is the same for every frame
  msp_load_weights(weight, window, lane_index, 0, length, false);

  float2 unused = MSP_NO_EXTREMES;
  for (int step = 0; step < params.steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const int wanted = first + step * MSP_FRAMES;
    const bool live = wanted < params.frames;
    const int frame = live ? wanted : params.frames - 1;  // idle lanes repeat the last frame and store nothing
    const int start = params.start + frame * params.hop_length;

    // Beside its first sample a frame's mean is small, and costs no digits.
    const float base = params.remove_dc != 0 ? msp_mirrored_sample(row, start, params.samples) : 0.0f;
    float2 v[MSP_VALUES + 1];
    float before[MspFirst::COUNT];  // the sample in front of each pair, read early where there are registers for it
    float sum = 0.0f, mean = 0.0f;
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int d = 2 * MspFirst::index(q, lane);
      v[q] = float2(0.0f, 0.0f);
      before[q] = base;
      if (!MspFirst::active(q, lane) || d >= length) continue;
      if (MSP_NVIDIA) before[q] = msp_mirrored_sample(row, start + (d == 0 ? 0 : d - 1), params.samples);
      v[q].x = msp_mirrored_sample(row, start + d, params.samples) - base;
      if (d + 1 < length) v[q].y = msp_mirrored_sample(row, start + d + 1, params.samples) - base;
      sum += v[q].x + v[q].y;
    }
    if (params.remove_dc != 0) {
      mean = msp_sum_of_lanes(sum, (threadgroup float*)own, lane) / float(length);
      MSP_UNROLL
      for (int q = 0; q < MspFirst::COUNT; ++q) {
        const int d = 2 * MspFirst::index(q, lane);
        if (!MspFirst::active(q, lane) || d >= length) continue;
        v[q].x -= mean;
        if (d + 1 < length) v[q].y -= mean;
      }
    }
    float energy = 0.0f;
    if (params.energy == MSP_ENERGY_RAW) {
      energy = msp_sum_of_lanes(msp_energy_of_lane(v), (threadgroup float*)own, lane);
    }
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int d = 2 * MspFirst::index(q, lane);
      if (!MSP_NVIDIA && MspFirst::active(q, lane) && d < length) {
        before[q] = msp_mirrored_sample(row, start + (d == 0 ? 0 : d - 1), params.samples);
      }
      v[q] = (v[q] - float2(before[q] - base - mean, v[q].x) * kaldi.preemphasis) * weight[q];
    }
    if (params.energy == MSP_ENERGY_WINDOWED) {
      energy = msp_sum_of_lanes(msp_energy_of_lane(v), (threadgroup float*)own, lane);
    }
    msp_fft(v, shared, twiddles, lane);
    msp_to_pairs(v, shared, lane);
    msp_split_pairs(v, pair_twiddles, lane);

    device float* to = output + (row_index * params.frames + frame) * (features.width + (has_energy ? 1 : 0));
    msp_finish_frame(v, MspRealBins(), (threadgroup float*)own, features, bands, window, 1, false,
                     to + (energy_first ? 1 : 0), live, &unused, lane);
    if (has_energy && live && lane == 0) {
      const float value = metal::log(energy < features.amin ? features.amin : energy);  // NaN stays
      to[energy_first ? 0 : features.width] = value < kaldi.energy_floor ? kaldi.energy_floor : value;
    }
  }
}
