// Loads a frame's bins and makes its samples: the pairs of bins X[k], X[half - k] become the packed spectrum that
// msp_fft starts from; behind msp_fft the samples are weighted by the window.
//
// MSP_ADJOINT: the bins are gradients of those of stft, and the frame is the gradient of its samples. In an inverse
// transform the bins between 0 and half stand for their mirror images as well; here they do not, so bins 0 and half
// weigh twice as much relative to them.
// MSP_TWO_SIDED: all n_fft bins are gradients; those above half are added to their mirror images.

#include "fft/stockham.metal"
#include "frames/window.metal"

#if MSP_ADJOINT
#define MSP_OUTER_WEIGHT 2.0f
#else
#define MSP_OUTER_WEIGHT 1.0f
#endif

inline float2 msp_load_bin(const device float2* bins, int bin_stride, int k) {
#if MSP_TWO_SIDED
  if (k > 0 && k < MSP_HALF) {
    const float2 mirrored = bins[(MSP_N_FFT - k) * bin_stride];
    return bins[k * bin_stride] + float2(mirrored.x, -mirrored.y);
  }
#endif
  return bins[k * bin_stride];
}

MSP_INLINE void msp_load_pairs_apart(
    thread float2* v, thread float2* middle, const device float2* bins, int bin_stride, int lane) {
  const MspPairBins pairs = msp_pair_bins(lane);
  MSP_UNROLL
  for (int t = 0; t < MSP_PAIRS; ++t) {
    const bool active = msp_pair_active(t, lane);
    const int k = pairs.at(t);
    v[2 * t] = active ? msp_load_bin(bins, bin_stride, k) : float2(0.0f, 0.0f);
    v[2 * t + 1] = active ? msp_load_bin(bins, bin_stride, MSP_HALF - k) : float2(0.0f, 0.0f);
  }
  *middle = float2(0.0f, 0.0f);
#if MSP_HALF % 2 == 0
  if (lane == 0) *middle = msp_load_bin(bins, bin_stride, MSP_HALF / 2);
#endif
}

// A lane's pairs of one frame, in v[2t] and v[2t + 1]; `middle` is bin half / 2 (lane 0 only).
MSP_INLINE void msp_load_pairs(
    thread float2* v, thread float2* middle, const device float2* bins, int bin_stride, int lane) {
  if (bin_stride == 1) {  // as torch has them: addresses a constant apart
    msp_load_pairs_apart(v, middle, bins, 1, lane);
  } else {
    msp_load_pairs_apart(v, middle, bins, bin_stride, lane);
  }
}

// Packed spectrum Z = E + iO from the pairs; real and imaginary parts swapped for the inverse.
MSP_INLINE void msp_pack_pairs(thread float2* v, float2 middle, const device float2* pair_twiddles, int lane) {
  const MspPairBins pairs = msp_pair_bins(lane);
  MSP_UNROLL
  for (int t = 0; t < MSP_PAIRS; ++t) {
    const float2 a = v[2 * t], b = v[2 * t + 1];
    if (t == 0 && lane == 0) {  // imaginary parts of bins 0 and half do not count, as in torch
      v[0] = float2(a.x - b.x, a.x + b.x) * MSP_OUTER_WEIGHT;
      v[1] = float2(-2.0f * middle.y, 2.0f * middle.x);
    } else if (msp_pair_active(t, lane)) {
      const float2 even = float2(a.x + b.x, a.y - b.y);
      const float2 odd = msp_multiply_conjugate(float2(a.x - b.x, a.y + b.y), MSP_READ(pair_twiddles, pairs.at(t)));
      v[2 * t] = float2(even.y + odd.x, even.x - odd.y);
      v[2 * t + 1] = float2(odd.x - even.y, even.x + odd.y);
    }
  }
}

// A frame's samples, behind msp_fft: swapped back and weighted, zeros where there is no such frame.
MSP_INLINE void msp_weigh_frame(
    thread float2* v, const device float* window, int win_left, int win_length, bool paired, float scale, bool live,
    int lane) {
  if (paired) {
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) {
      const float2 weight = MspLast::active(q, lane) ? ((const device float2*)window)[MspLast::index(q, lane)]
                                                     : float2(0.0f, 0.0f);
      v[q] = float2(v[q].y, v[q].x) * (weight * scale);
    }
  } else {
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) {
      const float2 weight = MspLast::active(q, lane)
          ? msp_window_pair(window, MspLast::index(q, lane), win_left, win_length, false) : float2(0.0f, 0.0f);
      v[q] = float2(v[q].y, v[q].x) * (weight * scale);
    }
  }
  if (!live) {
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) v[q] = float2(0.0f, 0.0f);
  }
}
