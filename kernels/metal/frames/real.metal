// Loads a real frame into the registers of its lanes, in the layout MspFirst: samples, and the window that they are
// multiplied by.
//
// MSP_SAMPLE: the type of a sample (float, half, bfloat); MSP_WIDE_SAMPLES: it is float.

#include "fft/stockham.metal"
#include "frames/padding.metal"
#include "frames/window.metal"

// MspFirst::index(q, lane) as one number per lane and constants behind it, so that a frame has one address. (NVIDIA's
// compiler spills in the gradient of losses then.)
#if MSP_RECOMPUTE
#define MSP_ONE_BASE (!MSP_NVIDIA)
#else
#define MSP_ONE_BASE 1
#endif
inline int msp_first_base(int lane) { return MSP_ONE_BASE ? lane : 0; }
inline int msp_first_behind(int q, int lane) { return MspFirst::index(q, MSP_ONE_BASE ? 0 : lane); }

MSP_INLINE void msp_load_weights(
    thread float2* weight, const device float* window, int lane, int win_left, int win_length, bool paired) {
  const device float2* pairs = (const device float2*)window + msp_first_base(lane);
  if (paired && MSP_ONE_BASE) {
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      weight[q] = MspFirst::active(q, lane) ? pairs[msp_first_behind(q, lane)] : float2(0.0f, 0.0f);
    }
  } else {
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      weight[q] = MspFirst::active(q, lane)
          ? msp_window_pair(window, MspFirst::index(q, lane), win_left, win_length, paired) : float2(0.0f, 0.0f);
    }
  }
}

MSP_INLINE void msp_weigh(thread float2* v, const thread float2* weight) {
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) v[q] = v[q] * weight[q];
}

// The samples of a frame that lies within the signal. `paired`: it starts at an 8-byte boundary.
MSP_INLINE void msp_load_inside(
    thread float2* v, const device MSP_SAMPLE* row, int start, bool paired, int lane) {
  const device MSP_SAMPLE* samples = row + start + 2 * msp_first_base(lane);
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) v[q] = float2(0.0f, 0.0f);
  if (paired && MSP_WIDE_SAMPLES) {
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      if (MspFirst::active(q, lane)) v[q] = ((const device float2*)samples)[msp_first_behind(q, lane)];
    }
  } else {
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int t = 2 * msp_first_behind(q, lane);
      if (MspFirst::active(q, lane)) v[q] = float2(float(samples[t]), float(samples[t + 1]));
    }
  }
}

// The samples of a frame that reaches beyond an end, padded.
MSP_INLINE void msp_load_across(
    thread float2* v, const device MSP_SAMPLE* row, int start, int samples, int pad_mode, int lane) {
  const int first = start + 2 * msp_first_base(lane);
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    const int t = first + 2 * msp_first_behind(q, lane);
    v[q] = float2(0.0f, 0.0f);
    if (MspFirst::active(q, lane)) {
      v[q] = float2(msp_padded_sample<float>(row, t, samples, pad_mode),
                    msp_padded_sample<float>(row, t + 1, samples, pad_mode));
    }
  }
}
