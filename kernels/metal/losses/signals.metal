// The spectra of one frame of both signals of a loss.

#include "features/spectrum.metal"
#include "losses/terms.metal"

struct MspLossSignals {
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

  // The input's bins in v, as msp_spectrum(), and what magnitudes.square() makes of the target's in `wanted`.
  // One after the other by the same instructions: those of two transforms are more than a GPU keeps at hand.
  MSP_INLINE void spectra(
      thread float2* v, thread float* wanted, MspMagnitudes magnitudes, threadgroup MSP_EXCHANGE_TYPE* shared,
      int frame, int lane_index) const {
    if (!MSP_NVIDIA) {  // or LLVM has them come from the frame before, and live all the while
      MSP_UNROLL
      for (int q = 0; q < MspRealBins::COUNT; ++q) wanted[q] = 0.0f;
    }
#pragma unroll 1
    for (int which = 0; which < 2; ++which) {
      const int lane = MSP_ANEW(lane_index, frame + which);
      msp_load_frame(v, which == 0 ? target : input, frame * hop_length - pad, samples, pad_mode,
                     which == 0 ? paired_target : paired_input, MSP_ANEW(lane_index, frame + which + 2));
      // The window is read for every transform: held in registers meanwhile, it would spill.
      const int window_lane = MSP_ANEW(lane_index, frame + which + 4);
      if (MSP_NVIDIA) {
        float2 weight[MspFirst::COUNT];
        msp_load_weights(weight, window, window_lane, win_left, win_length, paired_window);
        msp_weigh(v, weight);
      } else {  // one by one
        MSP_UNROLL
        for (int q = 0; q < MspFirst::COUNT; ++q) {
          if (!MspFirst::active(q, window_lane)) continue;
          v[q] = v[q] * msp_window_pair(window, MspFirst::index(q, window_lane), win_left, win_length, paired_window);
        }
      }
      msp_spectrum(v, shared + MSP_ANEW(0, frame + which), twiddles, pair_twiddles, lane);
      if (which == 0) {
        MSP_UNROLL
        for (int q = 0; q < MspRealBins::COUNT; ++q) wanted[q] = magnitudes.square(v[q]);
      }
    }
  }
};

// How many quotients msp_logarithms() takes.
#define MSP_TOGETHER 4

// The sum of the distances that are the logarithms of quotients.
MSP_INLINE float msp_logarithms(const thread float* quotients) {
#if MSP_HAS_LOG
#if !MSP_SQUARED
  float product = 1.0f;
  MSP_UNROLL
  for (int i = 0; i < MSP_TOGETHER; ++i) product *= quotients[i];
  if (product < FLT_MAX) return metal::log(product);  // FLT_MAX: fast-math mode knows no infinity
#endif
  float sum = 0.0f;
  MSP_UNROLL
  for (int i = 0; i < MSP_TOGETHER; ++i) sum += MspMagnitudes::distance(metal::log(quotients[i]));
  return sum;
#else
  return 0.0f;
#endif
}

// The terms of a lane's bins: those of the input, and what square() made of the target's.
MSP_INLINE float4 msp_terms(MspMagnitudes magnitudes, const thread float2* bins, const thread float* wanted, int lane) {
  float4 sum = float4(0.0f, 0.0f, 0.0f, 0.0f);
  MSP_UNROLL
  for (int first = 0; first < MspRealBins::COUNT; first += MSP_TOGETHER) {
    float quotients[MSP_TOGETHER];
    MSP_UNROLL
    for (int i = 0; i < MSP_TOGETHER; ++i) {
      quotients[i] = 1.0f;
      if (first + i >= MspRealBins::COUNT) continue;
      const bool counts = MspRealBins().has(first + i, lane);
      const float b = counts ? wanted[first + i] : 1.0f;
      const MspRoot x = msp_root(counts ? magnitudes.square(bins[first + i]) : 1.0f), y = msp_root(b);
      const float difference = x.value - y.value;
      quotients[i] = magnitudes.quotient(x, y);
      sum.x += difference * difference;
      sum.y += counts ? b : 0.0f;
#if MSP_HAS_LINEAR
      sum.w += magnitudes.distance(difference);
#endif
    }
    sum.z += msp_logarithms(quotients);
  }
  return sum;
}
