// The transform of any size: of MSP_HALF points, or by Bluestein's algorithm of any number of points. The algorithm is
// a convolution with a chirp. The number of points is an argument then, and one kernel serves all numbers for which its
// convolution is long enough: at least points + bins - 1 values.
//
// In numpy, for `points` values x of which `bins` values X = fft(x) are wanted:
//
//   m = arange(max(points, bins))
//   chirp = exp(-2j * pi * m**2 / (2 * points))       # of the table
//   # 2 m k = m^2 + k^2 - (k - m)^2, so X[k] = chirp[k] * sum over m of (x[m] * chirp[m]) * conj(chirp[k - m])
//   b = zeros(MSP_HALF)
//   b[:bins], b[1 - points:] = conj(chirp[:bins]), conj(chirp[1:points][::-1])
//   chirp_spectrum = fft(b) / MSP_HALF                # of the table
//   a = fft(x * chirp, MSP_HALF) * chirp_spectrum
//   X = chirp[:bins] * swapped(fft(swapped(a)))[:bins]    # the inverse transform: swapped(z) = z.imag + 1j * z.real
//
// Values come in the layout MspFirst and leave in the layout MspResult. MSP_REAL: samples are real. MSP_PACKED: two of
// them are one point, x[2m] + i x[2m+1].
//
// MSP_FOLDED: n_fft is odd, and only powers are wanted. A frame is folded around its middle c: z[0] = x[c] and
// z[m] = (x[c+m] + x[c-m]) + i (x[c+m] - x[c-m]). With Z, the transform of z at n_fft points, the power of the frame's
// bin k is (Re Z(k)^2 + Re Z(-k)^2) / 2, because sums meet only cosines there, and differences only sines. Z(-k) is
// result MSP_HALF - k.
//
// MSP_MAGNITUDES: only magnitudes are wanted. MSP_POINTS_MAX, MSP_BINS_MAX: the most points and bins that the kernel is
// for, so that values that are never among them cost no instructions.

#include "fft/stockham.metal"

struct MspTransform {
  int n_fft;
  int points;  // n_fft, or half of it, rounded up (MSP_PACKED, MSP_FOLDED)
  int bins;    // those that matter: of a real frame that is not packed, one side
};

// Whether a lane's value q is one of the first `count`, which are MOST at most; lane 0 has the lowest.
template <class LAYOUT, int MOST>
inline bool msp_is_among(int q, int lane, int count) {
  return LAYOUT::index(q, 0) < MOST && LAYOUT::active(q, lane) && LAYOUT::index(q, lane) < count;
}

// Whether a convolution's second transform is the transposed one, which saves an exchange. It ends with values of the
// first stage's butterflies, and every lane should have some of them. Where some lanes have none it pays only if an
// exchange takes two turns (H100, istft: 0.128 against 0.122 ms in 3072 points, but 0.300 against 0.312 in 6144).
#define MSP_TRANSPOSED (MSP_BLUESTEIN && (MSP_SPLIT || MSP_HALF / MSP_RADIX_0 % MSP_LANES == 0))

#if MSP_TRANSPOSED
typedef MspFirst MspResult;
#else
typedef MspLast MspResult;
#endif

inline float2 msp_swapped(float2 value) {
  return float2(value.y, value.x);
}

// Whether a lane's value q of the result stands for a bin -k: the same for all lanes, as few bins are wanted then.
inline bool msp_is_negative(int q) {
  return MSP_FOLDED && 2 * MspResult::index(q, 0) >= MSP_HALF;
}

inline int msp_bin(int q, int lane) {
  return msp_is_negative(q) ? MSP_HALF - MspResult::index(q, lane) : MspResult::index(q, lane);
}

// Whether that is one of the first `count` bins, which are MOST at most.
template <int MOST>
inline bool msp_is_wanted(int q, int lane, int count) {
  if (!msp_is_negative(q)) return msp_is_among<MspResult, MOST>(q, lane, count);
  return MSP_HALF - MspResult::index(q, MSP_LANES - 1) < MOST && MspResult::active(q, lane) && msp_bin(q, lane) < count;
}

// chirp: e^{-2 pi i m^2 / n}, m < points; n is twice the points, or twice n_fft (MSP_FOLDED). chirp_spectrum: that of
// its conjugate, even and periodic in MSP_HALF points, divided by MSP_HALF.
template <int GIVEN_MAX, int WANTED_MAX>
MSP_INLINE void msp_transform(
    thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, const device float2* chirp,
    const device float2* chirp_spectrum, int given, int wanted, int lane) {
#if MSP_BLUESTEIN
  const int later = MSP_ANEW(lane, given);
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    if (!msp_is_among<MspFirst, GIVEN_MAX>(q, lane, given)) continue;
    v[q] = msp_multiply(v[q], MSP_READ(chirp, MspFirst::index(q, lane)));
  }
  msp_fft(v, shared, table, lane);
  MSP_UNROLL
  for (int q = 0; q < MspLast::COUNT; ++q) {  // swapped, for the inverse transform
    if (!MspLast::active(q, lane)) continue;
    v[q] = msp_swapped(msp_multiply(v[q], MSP_READ(chirp_spectrum, MspLast::index(q, lane))));
  }
#if MSP_TRANSPOSED
  msp_fft_transposed(v, shared, table, later);
#else
  msp_exchange<MspLast, MspFirst, MspDense>(v, shared, later);
  msp_fft(v, shared, table, later);
#endif
#if MSP_PACKED || MSP_FOLDED || !MSP_MAGNITUDES  // a factor of size 1 does not change magnitudes
  MSP_UNROLL
  for (int q = 0; q < MspResult::COUNT; ++q) {
    if (!msp_is_wanted<WANTED_MAX>(q, later, wanted)) continue;
    v[q] = msp_multiply(msp_swapped(v[q]), MSP_READ(chirp, msp_bin(q, later)));
  }
#endif
#else
  msp_fft(v, shared, table, lane);
#endif
}

#if MSP_COMPLEX_WINDOW
#define MSP_WINDOW float2
#else
#define MSP_WINDOW float
#endif

// The window's value at sample d of a frame, as a complex number; its conjugate in adjoints.
inline float2 msp_window_at(const device MSP_WINDOW* window, int d, int left, int win_length, bool adjoint) {
  const int a = d - left;
  if (a < 0 || a >= win_length) return float2(0.0f, 0.0f);
#if MSP_COMPLEX_WINDOW
  return float2(window[a].x, adjoint ? -window[a].y : window[a].y);
#else
  return float2(window[a], 0.0f);
#endif
}

// Elements of exchange memory per slot, even so that it can hold float2 as well.
#define MSP_SLOT_SIZE ((MSP_EXCHANGE_SIZE + 1) / 2 * 2)
