// Where the gradient of an STFT loss takes its spectra from: it transforms each frame of both signals again and turns
// the input's spectrum into the gradient of that spectrum, without going through memory.

#include "losses/signals.metal"

struct MspLossSource {
  MspLossSignals signals;
  MspMagnitudes magnitudes;
  float4 weights;

  // As msp_load_pairs(), with the exchange memory of the frame.
  MSP_INLINE void load(
      thread float2* v, thread float2* middle, threadgroup MSP_EXCHANGE_TYPE* shared, int frame, int lane) const {
    float wanted[MspRealBins::COUNT];
    signals.spectra(v, wanted, magnitudes, shared, frame, lane);
    MSP_UNROLL
    for (int q = 0; q < MspRealBins::COUNT; ++q) v[q] = magnitudes.gradient(v[q], wanted[q], weights);
    msp_join_pairs(v, middle, lane);
  }
};
