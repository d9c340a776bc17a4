// Where the gradient of the features takes its spectra from: it transforms each frame of the signal again and turns the
// frame's spectrum into the gradient of the spectrum, without going through memory.

#include "features/features.metal"
#include "features/spectrum.metal"

struct MspFeatureSource {
  const device MSP_SAMPLE* row;  // of the signal
  const device float* window;
  const device float2* twiddles;
  const device float2* pair_twiddles;
  const device float* gradient;  // of the row's features
  int gradient_frames;           // the frames behind these have none
  int gradient_feature;          // strides
  int gradient_frame;
  int samples;
  int pad;
  int pad_mode;
  int hop_length;
  int win_left;
  int win_length;
  bool paired_loads;
  bool paired_window;
  MspFeatures features;
  MspBands bands;

  // As msp_load_pairs(), with the exchange memory of the frame.
  MSP_INLINE void load(
      thread float2* v, thread float2* middle, threadgroup MSP_EXCHANGE_TYPE* shared, int frame,
      int lane_index) const {
    const int lane = MSP_ANEW(lane_index, frame);
    float2 weight[MspFirst::COUNT];
    msp_load_weights(weight, window, lane_index, win_left, win_length, paired_window);
    msp_load_frame(v, row, frame * hop_length - pad, samples, pad_mode, paired_loads, lane);
    msp_weigh(v, weight);
    msp_spectrum(v, shared, twiddles, pair_twiddles, lane);
    float2 unused = MSP_NO_EXTREMES;
    msp_finish_frame(v, MspRealBins(), (threadgroup float*)shared, features, bands, gradient + frame * gradient_frame,
                     gradient_feature, frame < gradient_frames, (device float2*)nullptr, true, &unused, lane);
    msp_join_pairs(v, middle, lane);
  }
};
