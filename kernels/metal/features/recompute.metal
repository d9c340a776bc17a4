// Where the gradient of the features takes its spectra from: it transforms each frame of the signal again and turns the
// frame's spectrum into the gradient of the spectrum, without going through memory.

#include "features/bins.metal"
#include "features/features.metal"
#include "frames/real.metal"

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
  void load(thread float2* v, thread float2* middle, threadgroup MSP_EXCHANGE_TYPE* shared, int frame, int lane) const {
    const int start = frame * hop_length - pad;
    float2 weight[MspFirst::COUNT];
    msp_load_weights(weight, window, lane, win_left, win_length, paired_window);
    if (start >= 0 && start + MSP_N_FFT <= samples) {
      msp_load_inside(v, weight, row, start, paired_loads, lane);
    } else {
      msp_load_across(v, weight, row, start, samples, pad_mode, lane);
    }
    msp_fft(v, shared, twiddles, lane);
    msp_to_pairs(v, shared, lane);
    msp_split_pairs(v, pair_twiddles, lane);
    float unused = 0.0f;
    msp_finish_frame(v, MspRealBins(), (threadgroup float*)shared, features, bands, gradient + frame * gradient_frame,
                     gradient_feature, frame < gradient_frames, (device float2*)nullptr, true, &unused, lane);
    *middle = v[1];
    if (lane == 0) v[1] = v[2 * MSP_PAIRS];
  }
};
