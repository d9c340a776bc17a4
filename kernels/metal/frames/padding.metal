// Samples of a row as torch.nn.functional.pad would extend it, read without a copy.

#define MSP_PAD_REFLECT 0
#define MSP_PAD_CONSTANT 1
#define MSP_PAD_REPLICATE 2
#define MSP_PAD_CIRCULAR 3

template <class T>
inline float msp_sample(const device T* row, int t) {
  return float(row[t]);
}

inline float2 msp_sample(const device float2* row, int t) {  // complex, at any multiple of 4 bytes
  const device float* parts = (const device float*)row;
  return float2(parts[2 * t], parts[2 * t + 1]);
}

// VALUE: float, or float2 for complex samples.
template <class VALUE, class T>
inline VALUE msp_padded_sample(const device T* row, int t, int samples, int pad_mode) {
  if (t < 0 || t >= samples) {
    if (pad_mode == MSP_PAD_CONSTANT) return VALUE(0.0f);
    if (pad_mode == MSP_PAD_REFLECT) t = t < 0 ? -t : 2 * (samples - 1) - t;
    else if (pad_mode == MSP_PAD_REPLICATE) t = t < 0 ? 0 : samples - 1;
    else t = t < 0 ? t + samples : t - samples;
  }
  return msp_sample(row, t);
}

// The same without branches: where a sample beyond an end comes from is a line in t.
struct MspExtension {
  int slope;
  int below_offset;
  int above_offset;
  bool zero;  // beyond the ends there is nothing
};

inline MspExtension msp_extension(int samples, int pad_mode) {
  const bool reflects = pad_mode == MSP_PAD_REFLECT, repeats = pad_mode == MSP_PAD_CIRCULAR;
  const MspExtension extension = {
      reflects ? -1 : repeats ? 1 : 0, repeats ? samples : 0,
      reflects ? 2 * (samples - 1) : repeats ? -samples : samples - 1, pad_mode == MSP_PAD_CONSTANT};
  return extension;
}

template <class T>
inline float msp_extended_sample(const device T* row, int t, int samples, MspExtension extension) {
  const bool below = t < 0, above = t >= samples;
  const int place = below ? extension.slope * t + extension.below_offset
                          : above ? extension.slope * t + extension.above_offset : t;
  const float value = float(row[place]);
  return (below || above) && extension.zero ? 0.0f : value;
}
