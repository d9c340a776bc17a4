// Loads a frame for the transform of any size: samples times window, in the layout MspFirst.
//
// MSP_SAMPLE: float, half, bfloat, or float2 (then MSP_COMPLEX_SAMPLES).

#include "fft/bluestein.metal"
#include "frames/padding.metal"
#include "overlap/envelope.metal"

// On NVIDIA: how many threads live on a multiprocessor. More, and therefore with fewer registers, are faster by up to a
// fourth for convolutions between two powers of two, and slower for powers of two, and in inverse transforms.
#if MSP_BLUESTEIN && (MSP_HALF & (MSP_HALF - 1)) != 0 && MSP_LANES <= 256
#define MSL_RESIDENT_THREADS 768
#endif

// What the samples of a frame are multiplied by.
struct MspWeights {
  const device MSP_WINDOW* window;
  const device MSP_WINDOW* inverse_envelope;
  int win_left;
  int win_length;
  bool adjoint;
  MspEnvelope envelope;

  // d: within the frame; s: position in istft's untrimmed signal.
  float2 at(int d, int s) const {
    const float2 weight = msp_window_at(window, d, win_left, win_length, adjoint);
    if (!adjoint) return weight;
    if (s >= envelope.end) return float2(0.0f, 0.0f);
    const int entry = envelope.entry(s, s % envelope.hop_length);
#if MSP_COMPLEX_WINDOW
    return msp_multiply_conjugate(weight, inverse_envelope[entry]);
#else
    return weight * inverse_envelope[entry];
#endif
  }
};

#if !MSP_COMPLEX_SAMPLES && !MSP_COMPLEX_WINDOW
// A real frame under a real window. PLAIN: it lies within the row, and the window is as long as the frame.
template <bool PLAIN>
struct MspRealFrame {
  const device MSP_SAMPLE* row;
  const device float* window;
  int left;
  int win_length;
  int start;
  int samples;
  MspExtension extension;

  // i more than d: so NVIDIA's compiler makes two neighbours of one address.
  float sample(int d, int i) const {
    const int t = start + d;
    return PLAIN ? float(row[t + i]) : msp_extended_sample(row, t + i, samples, extension);
  }

  float weight(int d, int i) const {
    const int a = d - left;
    return PLAIN || (a >= -i && a < win_length - i) ? window[a + i] : 0.0f;
  }

  MSP_INLINE void load(thread float2* v, int points, int lane) const {
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int m = MspFirst::index(q, lane);
      v[q] = float2(0.0f, 0.0f);
      if (!msp_is_among<MspFirst, MSP_POINTS_MAX>(q, lane, points)) continue;
      if (MSP_FOLDED) {
        const int later = points - 1 + m, earlier = points - 1 - m;
        const float x = sample(later, 0), y = sample(earlier, 0);
        const float p = x * weight(later, 0), r = y * weight(earlier, 0);
        v[q] = m == 0 ? float2(p, 0.0f) : float2(p + r, p - r);
      } else {
        const int d = MSP_PACKED ? 2 * m : m;
        v[q].x = sample(d, 0) * weight(d, 0);
        if (MSP_PACKED) v[q].y = sample(d, 1) * weight(d, 1);
      }
    }
  }
};
#endif

// start: of the frame in the row; position: in istft's untrimmed signal.
MSP_INLINE void msp_load_points(
    thread float2* v, const device MSP_SAMPLE* row, MspWeights weights, MspTransform transform, int start, int position,
    int samples, int pad_mode, int lane) {
#if !MSP_COMPLEX_SAMPLES && !MSP_COMPLEX_WINDOW
  if (!weights.adjoint) {
    const MspExtension extension = msp_extension(samples, pad_mode);
    const device float* window = weights.window;
    const int left = weights.win_left, length = weights.win_length;
    if (start >= 0 && start + transform.n_fft <= samples && length == transform.n_fft) {
      const MspRealFrame<true> frame = {row, window, left, length, start, samples, extension};
      frame.load(v, transform.points, lane);
    } else {
      const MspRealFrame<false> frame = {row, window, left, length, start, samples, extension};
      frame.load(v, transform.points, lane);
    }
    return;
  }
#endif
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    const int m = MspFirst::index(q, lane);
    v[q] = float2(0.0f, 0.0f);
    if (!msp_is_among<MspFirst, MSP_POINTS_MAX>(q, lane, transform.points)) continue;
#if MSP_PACKED
    const float even = msp_padded_sample<float>(row, start + 2 * m, samples, pad_mode);
    const float odd = msp_padded_sample<float>(row, start + 2 * m + 1, samples, pad_mode);
    v[q] = float2(even * weights.at(2 * m, position + 2 * m).x, odd * weights.at(2 * m + 1, position + 2 * m + 1).x);
#else
    const float2 weight = weights.at(m, position + m);
#if MSP_COMPLEX_SAMPLES && MSP_COMPLEX_WINDOW
    v[q] = msp_multiply(msp_padded_sample<float2>(row, start + m, samples, pad_mode), weight);
#elif MSP_COMPLEX_SAMPLES
    v[q] = msp_padded_sample<float2>(row, start + m, samples, pad_mode) * weight.x;
#else
    v[q] = weight * msp_padded_sample<float>(row, start + m, samples, pad_mode);
#endif
#endif
  }
}
