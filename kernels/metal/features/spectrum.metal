// The spectrum of one frame of a row of samples, in the registers of its lanes.

#include "features/bins.metal"
#include "frames/real.metal"

// The samples of a frame. start: its first sample; paired: the frames of the row start at 8-byte boundaries.
MSP_INLINE void msp_load_frame(
    thread float2* v, const device MSP_SAMPLE* row, int start, int samples, int pad_mode, bool paired, int lane) {
  if (start >= 0 && start + MSP_N_FFT <= samples) {
    msp_load_inside(v, row, start, paired, lane);
  } else {
    msp_load_across(v, row, start, samples, pad_mode, lane);
  }
}

// From these samples, weighted, to the bins that MspRealBins says, in v, which has MSP_VALUES + 1 values.
MSP_INLINE void msp_spectrum(
    thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* twiddles,
    const device float2* pair_twiddles, int lane) {
  msp_fft(v, shared, twiddles, lane);
  msp_to_pairs(v, shared, lane);
  msp_split_pairs(v, pair_twiddles, lane);
}

// For the inverse transform of what is in these bins: pairs (k, half - k) in v, the bin between them in `middle`.
MSP_INLINE void msp_join_pairs(thread float2* v, thread float2* middle, int lane) {
  *middle = v[1];
  if (lane == 0) v[1] = v[2 * MSP_PAIRS];
}
