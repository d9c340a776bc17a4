// The terms of an STFT loss in one launch: frames of both signals are transformed, and what losses/terms.metal says is
// summed up over their bins. No magnitude is written to memory. A threadgroup belongs to one row and has MSP_FRAMES
// frames in flight, for several steps; its sums are added up in the same order every time.

#include "losses/signals.metal"

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_stft_loss(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device MSP_SAMPLE* target [[buffer(1)]],
    const device float* window [[buffer(2)]],
    const device float2* twiddles [[buffer(3)]],
    const device float2* pair_twiddles [[buffer(4)]],
    device float* sums [[buffer(5)]],  // four per threadgroup
    constant MspStftLossParams& params [[buffer(6)]],
    constant MspStftLossScale& scale [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];

  const MspMagnitudes magnitudes = {scale.eps, scale.factor, scale.added};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  const int row_index = int(group) / params.groups;
  const int first = (int(group) - row_index * params.groups) * params.steps * MSP_FRAMES + slot;
  const MspLossSignals signals = {
      input + row_index * params.input_stride, target + row_index * params.target_stride, window, twiddles,
      pair_twiddles, params.samples, params.pad, params.pad_mode, params.hop_length, params.win_left,
      params.win_length, params.paired_input != 0, params.paired_target != 0, params.paired_window != 0};

  float4 sum = float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int step = 0; step < params.steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const int wanted_frame = first + step * MSP_FRAMES;
    const bool live = wanted_frame < params.frames;
    const int frame = live ? wanted_frame : params.frames - 1;  // idle lanes repeat the last frame and add nothing
    float2 v[MSP_VALUES + 1];
    float wanted[MspRealBins::COUNT];
    signals.spectra(v, wanted, magnitudes, shared, frame, lane);
    if (live) sum = sum + msp_terms(magnitudes, v, wanted, lane);
  }

  sum = msp_sum_over_lanes(sum);
  threadgroup float* found = (threadgroup float*)exchange;  // four numbers per simdgroup
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index % 32 == 0) msp_store_sums(found + thread_index / 32 * 4, sum);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index == 0) {
    float4 total = float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int i = 0; i < MSP_LANES * MSP_FRAMES / 32; ++i) total = total + msp_take_sums(found + 4 * i);
    msp_store_sums(sums + 4 * (params.first_sum + int(group)), total);
  }
}
