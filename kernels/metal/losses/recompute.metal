// Where the gradient of an STFT loss takes its spectra from: it transforms each frame of both signals again and turns
// the input's spectrum into the gradient of that spectrum, without going through memory.

#include "features/spectrum.metal"
#include "losses/terms.metal"

struct MspLossSource {
  const device MSP_SAMPLE* input;  // these two: one row
  const device MSP_SAMPLE* target;
  const device float* window;
  const device float2* twiddles;
  const device float2* pair_twiddles;
  int samples;
  int pad;
  int pad_mode;
  int hop_length;
  int win_left;
  int win_length;
  bool paired_input;
  bool paired_target;
  bool paired_window;
  MspMagnitudes magnitudes;
  float4 weights;

  // As msp_load_pairs(), with the exchange memory of the frame.
  void load(thread float2* v, thread float2* middle, threadgroup MSP_EXCHANGE_TYPE* shared, int frame, int lane) const {
    const int start = frame * hop_length - pad;
    float2 weight[MspFirst::COUNT];
    msp_load_weights(weight, window, lane, win_left, win_length, paired_window);
    float wanted[MspRealBins::COUNT];
    msp_frame_spectrum(v, weight, target, start, samples, pad_mode, paired_target, shared, twiddles, pair_twiddles,
                       lane);
#pragma unroll
    for (int q = 0; q < MspRealBins::COUNT; ++q) wanted[q] = magnitudes.of(v[q]);

    msp_frame_spectrum(v, weight, input, start, samples, pad_mode, paired_input, shared, twiddles, pair_twiddles, lane);
#pragma unroll
    for (int q = 0; q < MspRealBins::COUNT; ++q) v[q] = magnitudes.gradient(v[q], wanted[q], weights);
    msp_join_pairs(v, middle, lane);
  }
};
