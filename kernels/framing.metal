// A real frame on its way into the registers of its lanes: samples times window, in the layout MspFirst.
//
// MSP_SAMPLE: the type of a sample (float, half, bfloat); MSP_WIDE_SAMPLES: it is float.

// Two neighbouring samples; `paired`: they start at an 8-byte boundary.
inline float2 msp_sample_pair(const device MSP_SAMPLE* row, int t, bool paired) {
#if MSP_WIDE_SAMPLES
  if (paired) return *(const device float2*)(row + t);
#endif
  return float2(float(row[t]), float(row[t + 1]));
}

inline void msp_load_weights(
    thread float2* weight, const device float* window, uint lane, int win_left, int win_length, bool paired) {
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    weight[q] = MspFirst::active(q, lane)
        ? msp_window_pair(window, MspFirst::index(q, lane), win_left, win_length, paired) : float2(0.0f, 0.0f);
  }
}

// The samples of a frame that lies within the signal, weighted.
inline void msp_load_inside(
    thread float2* v, const thread float2* weight, const device MSP_SAMPLE* row, int start, bool paired, uint lane) {
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    v[q] = MspFirst::active(q, lane) ? msp_sample_pair(row, start + 2 * int(MspFirst::index(q, lane)), paired)
                                     : float2(0.0f, 0.0f);
  }
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) v[q] = v[q] * weight[q];
}

// The samples of a frame that reaches beyond an end, padded and weighted.
inline void msp_load_across(
    thread float2* v, const thread float2* weight, const device MSP_SAMPLE* row, int start, int samples, int pad_mode,
    uint lane) {
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    const int t = start + 2 * int(MspFirst::index(q, lane));
    v[q] = float2(0.0f, 0.0f);
    if (MspFirst::active(q, lane)) {
      v[q] = float2(msp_padded_sample(row, t, samples, pad_mode), msp_padded_sample(row, t + 1, samples, pad_mode));
      v[q] = v[q] * weight[q];
    }
  }
}
