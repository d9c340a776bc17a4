// As kernels/features.metal, for every other n_fft: odd, prime, or half of it with a prime factor above 7.

#include "features/features.metal"
#include "frames/any.metal"
#include "frames/unpack.metal"

// Bins of a real frame's spectrum that a lane holds.
struct MspGeneralBins {
  static constexpr constant int COUNT = MSP_VALUES + 2;

  MspTransform transform;

  bool has(int q, int lane) const {
    if (!MSP_PACKED) {
      const bool is_one = q < MspResult::COUNT && !msp_is_negative(q);
      return is_one && msp_is_wanted<MSP_BINS_MAX>(q, lane, transform.bins);
    }
    const int k = lane + q / 2 * MSP_LANES;
    if (2 * (q / 2) * MSP_LANES > MSP_POINTS_MAX) return false;
    return q % 2 == 0 ? 2 * k <= transform.points : 2 * k < transform.points;
  }

  int bin(int q, int lane) const {
    if (!MSP_PACKED) return MspResult::index(q, lane);
    const int k = lane + q / 2 * MSP_LANES;
    return q % 2 == 0 ? k : transform.points - k;
  }
};

// Of a packed frame, bins k and points - k come from the packed ones of the same numbers. Of a folded one, what comes
// out has the magnitudes of the bins k only.
MSP_INLINE void msp_split_points(
    thread float2* v, threadgroup float2* packed, const device float2* pair_twiddles, MspTransform transform,
    int lane) {
#if MSP_FOLDED
  threadgroup float* negative = (threadgroup float*)packed;
  MSP_UNROLL
  for (int q = 0; q < MspResult::COUNT; ++q) {
    if (!msp_is_negative(q) || !msp_is_wanted<MSP_BINS_MAX>(q, lane, transform.bins)) continue;
    negative[msp_bin(q, lane)] = v[q].x;
  }
  MSP_SYNC();
  MSP_UNROLL
  for (int q = 0; q < MspResult::COUNT; ++q) {
    if (msp_is_negative(q) || !msp_is_wanted<MSP_BINS_MAX>(q, lane, transform.bins)) continue;
    const int k = MspResult::index(q, lane);
    v[q].y = k == 0 ? v[q].x : negative[k];
  }
#else
  if (MSP_PACKED) {
    MSP_UNROLL
    for (int q = 0; q < MspResult::COUNT; ++q) {
      if (msp_is_among<MspResult, MSP_POINTS_MAX>(q, lane, transform.points)) packed[MspResult::index(q, lane)] = v[q];
    }
  }
  MSP_SYNC();
  if (MSP_PACKED) {
    MSP_UNROLL
    for (int i = 0; 2 * i < MspGeneralBins::COUNT - 1; ++i) {
      const int k = lane + i * MSP_LANES;
      if (2 * i * MSP_LANES > MSP_POINTS_MAX || 2 * k > transform.points) continue;
      const float2 a = packed[k];
      if (k == 0) {
        v[2 * i] = float2(a.x + a.y, 0.0f);
        v[2 * i + 1] = float2(a.x - a.y, 0.0f);
      } else {
        const float2 b = packed[transform.points - k];
        const MspBinPair bins = msp_unpack(a, b, MSP_READ(pair_twiddles, k), 0.5f);
        v[2 * i] = bins.low;
        v[2 * i + 1] = bins.high;
      }
    }
  }
#endif
  MSP_SYNC();
}

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_any_features(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float2* chirp [[buffer(4)]],
    const device float2* chirp_spectrum [[buffer(5)]],
    const device int4* band_layout [[buffer(6)]],
    const device float2* band_weights [[buffer(7)]],
    const device int* bin_first [[buffer(8)]],
    const device float* bin_shares [[buffer(9)]],
    const device float* gradient [[buffer(10)]],  // MSP_GRADIENT only
    device MSP_FEATURE* output [[buffer(11)]],
    device float2* extremes [[buffer(12)]],
    constant MspAnyFeatureParams& params [[buffer(13)]],
    constant MspFeatureScale& scaling [[buffer(14)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 memory[MSP_FRAMES * MSP_SLOT_PAIRS];

  const MspWeights frame_weights = {window, window, params.win_left, params.win_length, false, {0, 0, 0, 0}};
  const MspTransform transform = {params.n_fft, params.points, params.bins};
  const int bins = MSP_PACKED ? transform.points + 1 : transform.bins;  // of the spectrum
  const MspFeatures features = msp_wanted_features(bins, params, scaling);
  const MspBands bands = {band_layout, band_weights, bin_first, bin_shares};
  const MspGeneralBins owner = {transform};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup float2* own = memory + slot * MSP_SLOT_PAIRS;
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)own;

  const int row_index = int(group) / params.groups;
  const int first = (int(group) - row_index * params.groups) * params.steps * MSP_FRAMES + slot;
  const device MSP_SAMPLE* row = input + row_index * params.row_stride;
#if MSP_GRADIENT
  const int stride = features.bins, feature_stride = params.gradient_feature;
#else
  const int stride = features.width, feature_stride = MSP_CONTIGUOUS ? params.frames : 1;
#endif

  float2 met = MSP_NO_EXTREMES;
  for (int step = 0; step < params.steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const int wanted = first + step * MSP_FRAMES;
    const bool live = wanted < params.frames;
    const int frame = live ? wanted : params.frames - 1;  // idle lanes repeat the last frame and store nothing

    float2 v[MspGeneralBins::COUNT];
    const int position = frame * params.hop_length;
    msp_load_points(v, row, frame_weights, transform, position - params.pad, position, params.samples, params.pad_mode,
                    lane);
    msp_transform<MSP_POINTS_MAX, MSP_BINS_MAX>(
        v, shared, twiddles, chirp, chirp_spectrum, transform.points, transform.bins, lane);
    msp_split_points(v, own, pair_twiddles, transform, lane);

    const device float* given = gradient + row_index * params.gradient_row + frame * params.gradient_frame;
    const int begin = MSP_CONTIGUOUS ? row_index * params.frames * stride + frame
                                     : (row_index * params.frames + frame) * stride;
    msp_finish_frame(v, owner, (threadgroup float*)own, features, bands, given, feature_stride,
                     frame < params.gradient_frames, output + begin, live, &met, lane);
  }
  if (params.wants_extremes != 0) {
    msp_find_extremes(memory, met, MSP_LANES * MSP_FRAMES, int(thread_index));
    if (thread_index == 0) extremes[group] = memory[0];
  }
}
