// Samples of a row as torch.nn.functional.pad would extend it, read without a copy.

#define MSP_PAD_REFLECT 0
#define MSP_PAD_CONSTANT 1
#define MSP_PAD_REPLICATE 2
#define MSP_PAD_CIRCULAR 3

template <class T>
inline float msp_padded_sample(const device T* row, int t, int samples, int pad_mode) {
  if (t < 0 || t >= samples) {
    if (pad_mode == MSP_PAD_CONSTANT) return 0.0f;
    if (pad_mode == MSP_PAD_REFLECT) t = t < 0 ? -t : 2 * (samples - 1) - t;
    else if (pad_mode == MSP_PAD_REPLICATE) t = t < 0 ? 0 : samples - 1;
    else t = t < 0 ? t + samples : t - samples;
  }
  return float(row[t]);
}
