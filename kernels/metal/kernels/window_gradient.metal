// The gradient of stft or istft with respect to the window, but for a last sum. Every slot adds up, over its frames,
// the inverse transform of a frame's spectrum times the samples under that frame, and writes one row of n_fft sums.

#include "fft/stockham.metal"
#include "frames/bins.metal"
#include "frames/padding.metal"

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_window_gradient(
    const device float2* input [[buffer(0)]],
    const device MSP_SAMPLE* signal [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    device float* output [[buffer(4)]],
    constant MspWindowGradientParams& params [[buffer(5)]],
    constant float& scale [[buffer(6)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  float2 sums[MspLast::COUNT];
  MSP_UNROLL
  for (int q = 0; q < MspLast::COUNT; ++q) sums[q] = float2(0.0f, 0.0f);

  for (int step = 0; step < params.steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const int wanted = (int(group) * params.steps + step) * MSP_FRAMES + slot;
    const bool live = wanted < params.total_frames;
    const int index = live ? wanted : params.total_frames - 1;  // idle lanes repeat the last frame and add nothing
    const int row_index = index / params.frames;
    const int frame = index - row_index * params.frames;
    const int start = frame * params.hop_length - params.pad;
    const device MSP_SAMPLE* row = signal + row_index * params.signal_stride;

    float2 v[MSP_VALUES];
    float2 middle;
    const device float2* bins = input + row_index * params.row_stride + frame * params.frame_stride;
    msp_load_pairs(v, &middle, bins, params.bin_stride, lane);
    msp_pack_pairs(v, middle, pair_twiddles, lane);
    msp_from_pairs(v, shared, lane);
    msp_fft(v, shared, twiddles, lane);
    if (live) {
      MSP_UNROLL
      for (int q = 0; q < MspLast::COUNT; ++q) {
        if (!MspLast::active(q, lane)) continue;
        const int t = start + 2 * MspLast::index(q, lane);
        sums[q].x += v[q].y * msp_padded_sample<float>(row, t, params.samples, params.pad_mode);
        sums[q].y += v[q].x * msp_padded_sample<float>(row, t + 1, params.samples, params.pad_mode);
      }
    }
  }
  device float2* pairs = (device float2*)(output + (int(group) * MSP_FRAMES + slot) * MSP_N_FFT);
  MSP_UNROLL
  for (int q = 0; q < MspLast::COUNT; ++q) {
    if (MspLast::active(q, lane_index)) pairs[MspLast::index(q, lane_index)] = sums[q] * scale;
  }
}
