// The transform of the general family: MSP_HALF points, or any number of points within them by Bluestein's algorithm,
// as a convolution with a chirp. Then the number is an argument, and a kernel serves all that its convolution is long
// enough for: one value less than are given and wanted together.
//
// Values come in the layout MspFirst and leave in the layout MspResult; those that are neither given nor wanted do not
// count. MSP_REAL: samples are real. MSP_PACKED: a frame of them is taken as x[2m] + i x[2m+1]. MSP_FOLDED: n_fft is odd,
// and a frame is laid on itself around its middle c, as z[m] = (x[c+m] + x[c-m]) + i (x[c+m] - x[c-m]) and z[0] = x[c].
// Of its transform Z at n_fft points, the frame's own has the power (Re Z(k)^2 + Re Z(-k)^2) / 2, for the sums meet only
// cosines there, and the differences only sines. Z(-k) stands at MSP_HALF - k. MSP_MAGNITUDES: those are all that is
// asked for. MSP_POINTS_MAX and MSP_BINS_MAX: the most of points and bins that the kernel is for, so that values that are
// never among them take no instructions.

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

// Whether the way back of a convolution is msp_fft transposed. It ends with values of the first stage's butterflies, of
// which all lanes should have some: else only where an exchange takes two turns (H100, istft: 0.128 against 0.122 ms in
// 3072 points, but 0.300 against 0.312 in 6144).
#define MSP_TRANSPOSED (MSP_BLUESTEIN && (MSP_SPLIT || MSP_HALF / MSP_RADIX_0 % MSP_LANES == 0))

#if MSP_TRANSPOSED
typedef MspFirst MspResult;

// One stage of msp_fft, transposed: the twiddles come behind the butterflies.
template <int R, int P>
inline void msp_stage_back(thread float2* v, const device float2* table, int lane) {
#pragma unroll
  for (int b = 0; b < MspButterflies<R>::COUNT; ++b) {
    if (MspButterflies<R>::RESTING && !MspStageInput<R, false>::active(b * R, lane)) continue;
    MspRadix<R>::apply(v + b * R);
    if (P > 1) msp_twiddle<R, P>(v + b * R, table, int(uint(msp_butterfly<R, false>(b, lane)) % P));
  }
}

// msp_fft with everything transposed, which is the same transform: from the layout MspLast to the layout MspFirst. So it
// starts where the way forth ends, without an exchange between them.
inline void msp_fft_back(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
#if MSP_STAGES > 5
  msp_stage_back<MSP_RADIX_5, MSP_P_5>(v, table + MSP_TABLE_5, lane);
  msp_exchange<MspStageInput<MSP_RADIX_5, false>, MspStageOutput<MSP_RADIX_4, MSP_P_4, false> >(v, shared, lane);
#endif
#if MSP_STAGES > 4
  msp_stage_back<MSP_RADIX_4, MSP_P_4>(v, table + MSP_TABLE_4, lane);
  msp_exchange<MspStageInput<MSP_RADIX_4, false>, MspStageOutput<MSP_RADIX_3, MSP_P_3, false> >(v, shared, lane);
#endif
#if MSP_STAGES > 3
  msp_stage_back<MSP_RADIX_3, MSP_P_3>(v, table + MSP_TABLE_3, lane);
  msp_exchange<MspStageInput<MSP_RADIX_3, false>, MspStageOutput<MSP_RADIX_2, MSP_P_2, false> >(v, shared, lane);
#endif
#if MSP_STAGES > 2
  msp_stage_back<MSP_RADIX_2, MSP_P_2>(v, table + MSP_TABLE_2, lane);
  msp_exchange<MspStageInput<MSP_RADIX_2, false>, MspStageOutput<MSP_RADIX_1, MSP_P_1, false> >(v, shared, lane);
#endif
#if MSP_STAGES > 1
  msp_stage_back<MSP_RADIX_1, MSP_P_1>(v, table + MSP_TABLE_1, lane);
  msp_exchange<MspStageInput<MSP_RADIX_1, false>, MspStageOutput<MSP_RADIX_0, MSP_P_0, false> >(v, shared, lane);
#endif
  msp_stage_back<MSP_RADIX_0, MSP_P_0>(v, table, lane);
}
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

// chirp: e^{-2 pi i m^2 / n}, m < points; n is twice the points, or twice n_fft (MSP_FOLDED). chirp_spectrum: that of its
// conjugate, even and periodic in MSP_HALF points, divided by MSP_HALF.
template <int GIVEN_MAX, int WANTED_MAX>
inline void msp_transform(
    thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, const device float2* chirp,
    const device float2* chirp_spectrum, int given, int wanted, int lane) {
#if MSP_BLUESTEIN
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    if (!msp_is_among<MspFirst, GIVEN_MAX>(q, lane, given)) continue;
    v[q] = msp_multiply(v[q], MSP_READ(chirp, MspFirst::index(q, lane)));
  }
  msp_fft(v, shared, table, lane);
#pragma unroll
  for (int q = 0; q < MspLast::COUNT; ++q) {  // swapped, for the way back
    if (!MspLast::active(q, lane)) continue;
    v[q] = msp_swapped(msp_multiply(v[q], MSP_READ(chirp_spectrum, MspLast::index(q, lane))));
  }
#if MSP_TRANSPOSED
  msp_fft_back(v, shared, table, lane);
#else
  msp_exchange<MspLast, MspFirst>(v, shared, lane);
  msp_fft(v, shared, table, lane);
#endif
#if MSP_PACKED || MSP_FOLDED || !MSP_MAGNITUDES  // the chirp does not change magnitudes
#pragma unroll
  for (int q = 0; q < MspResult::COUNT; ++q) {
    if (!msp_is_wanted<WANTED_MAX>(q, lane, wanted)) continue;
    v[q] = msp_multiply(msp_swapped(v[q]), MSP_READ(chirp, msp_bin(q, lane)));
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
