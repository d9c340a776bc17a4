// From spectra to windowless frames: loads the pairs of bins X[k], X[half - k] and turns them into the packed spectrum
// that msp_fft starts from.
//
// MSP_ADJOINT: the bins are gradients of stft's, and the frame is their real-valued adjoint: bins 0 and half count twice
// what they count in an inverse transform, relative to the others, which stand for their mirror images no more.
// MSP_TWO_SIDED: all n_fft bins are gradients; those above half are added to their mirror images.

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

// A lane's pairs of one frame, in v[2t] and v[2t + 1]; `middle` is bin half / 2 (lane 0 only).
inline void msp_load_pairs(
    thread float2* v, thread float2* middle, const device float2* bins, int bin_stride, uint lane) {
#pragma unroll
  for (int t = 0; t < MSP_PAIRS; ++t) {
    const bool active = msp_pair_active(t, lane);
    const int k = int(msp_pair_bin(t, lane));
    v[2 * t] = active ? msp_load_bin(bins, bin_stride, k) : float2(0.0f, 0.0f);
    v[2 * t + 1] = active ? msp_load_bin(bins, bin_stride, MSP_HALF - k) : float2(0.0f, 0.0f);
  }
  *middle = float2(0.0f, 0.0f);
#if MSP_HALF % 2 == 0
  if (lane == 0) *middle = msp_load_bin(bins, bin_stride, MSP_HALF / 2);
#endif
}

// Packed spectrum Z = E + iO from the pairs; real and imaginary parts swapped for the inverse.
inline void msp_pack_pairs(thread float2* v, float2 middle, const device float2* pair_twiddles, uint lane) {
#pragma unroll
  for (int t = 0; t < MSP_PAIRS; ++t) {
    const float2 a = v[2 * t], b = v[2 * t + 1];
    if (t == 0 && lane == 0) {  // imaginary parts of bins 0 and half do not count, as in torch
      v[0] = float2(a.x - b.x, a.x + b.x) * MSP_OUTER_WEIGHT;
      v[1] = float2(-2.0f * middle.y, 2.0f * middle.x);
    } else if (msp_pair_active(t, lane)) {
      const float2 even = float2(a.x + b.x, a.y - b.y);
      const float2 odd = msp_multiply_conjugate(float2(a.x - b.x, a.y + b.y), pair_twiddles[msp_pair_bin(t, lane)]);
      v[2 * t] = float2(even.y + odd.x, even.x - odd.y);
      v[2 * t + 1] = float2(odd.x - even.y, even.x + odd.y);
    }
  }
}
