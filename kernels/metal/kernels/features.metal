// Spectrogram, filterbank and scale of real frames in one launch: from samples to features in the order (batch, frame,
// feature). A threadgroup belongs to one row and has MSP_FRAMES frames in flight, for several steps.

#include "features/features.metal"
#include "features/spectrum.metal"

// On NVIDIA: how many threads live on a multiprocessor. A fourth more than of other kernels, whose registers spill then.
#if !MSP_GRADIENT
#define MSL_RESIDENT_THREADS 640
#endif

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_features(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device int4* band_layout [[buffer(4)]],
    const device float2* band_weights [[buffer(5)]],
    const device int* bin_first [[buffer(6)]],
    const device float* bin_shares [[buffer(7)]],
    const device float* gradient [[buffer(8)]],  // MSP_GRADIENT only
    device MSP_FEATURE* output [[buffer(9)]],
    device float2* extremes [[buffer(10)]],      // one of every threadgroup, where wanted
    constant MspFeatureParams& params [[buffer(11)]],
    constant MspFeatureScale& scaling [[buffer(12)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 memory[MSP_FRAMES * MSP_SLOT_PAIRS];

  const MspFeatures features = msp_wanted_features(MSP_BINS, params, scaling);
  const MspBands bands = {band_layout, band_weights, bin_first, bin_shares};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup float2* own = memory + slot * MSP_SLOT_PAIRS;
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)own;

  const int row_index = int(group) / params.groups;
  const int first = (int(group) - row_index * params.groups) * params.steps * MSP_FRAMES + slot;
  const int row_start = row_index * params.row_stride;
#if MSP_GRADIENT
  const int stride = MSP_BINS, feature_stride = params.gradient_feature;
#else
  const int stride = features.width, feature_stride = MSP_CONTIGUOUS ? params.frames : 1;
#endif

  float2 weight[MspFirst::COUNT];  // a lane's part of the window is the same for every frame
  msp_load_weights(weight, window, lane_index, params.win_left, params.win_length, params.paired_window != 0);

  float2 met = MSP_NO_EXTREMES;
  for (int step = 0; step < params.steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const int wanted = first + step * MSP_FRAMES;
    const bool live = wanted < params.frames;
    const int frame = live ? wanted : params.frames - 1;  // idle lanes repeat the last frame and store nothing

    const device MSP_SAMPLE* row = input + MSP_ANEW(row_start, step);
    float2 v[MSP_VALUES + 1];
    msp_load_frame(v, row, frame * params.hop_length - params.pad, params.samples, params.pad_mode,
                   params.paired_loads != 0, lane);
    msp_weigh(v, weight);
    msp_spectrum(v, shared, twiddles, pair_twiddles, lane);

    const device float* given = gradient + row_index * params.gradient_row + frame * params.gradient_frame;
    const int begin = MSP_CONTIGUOUS ? row_index * params.frames * stride + frame
                                     : (row_index * params.frames + frame) * stride;
    msp_finish_frame(v, MspRealBins(), (threadgroup float*)own, features, bands, given, feature_stride,
                     frame < params.gradient_frames, output + begin, live, &met, lane);
  }
  if (params.wants_extremes != 0) {
    msp_find_extremes(memory, met, MSP_LANES * MSP_FRAMES, int(thread_index));
    if (thread_index == 0) extremes[group] = memory[0];
  }
}
