// The transform of the general family: MSP_HALF points, or any number of points within them by Bluestein's algorithm,
// as a convolution with a chirp. Then the number is an argument, and a kernel serves all that its convolution is long
// enough for: one value less than are given and wanted together.
//
// Values come in the layout MspFirst and leave in the layout MspLast; those that are neither given nor wanted do not
// count. MSP_REAL: samples are real. MSP_PACKED: a frame of them is taken as x[2m] + i x[2m+1].

struct MspTransform {
  int n_fft;
  int points;  // n_fft, or half of it (MSP_PACKED)

  // The bins that matter: of a real frame that is not packed, one side.
  int bins() const { return MSP_REAL && !MSP_PACKED ? points / 2 + 1 : points; }
};

// The most points and bins that a kernel is for. Fixed, so that values that are never among them take no instructions.
#if !MSP_BLUESTEIN
#define MSP_POINTS_MAX MSP_HALF
#elif MSP_REAL && !MSP_PACKED
#define MSP_POINTS_MAX ((2 * MSP_HALF + 1) / 3)
#else
#define MSP_POINTS_MAX ((MSP_HALF + 1) / 2)
#endif
#if MSP_REAL && !MSP_PACKED
#define MSP_BINS_MAX (MSP_POINTS_MAX / 2 + 1)
#else
#define MSP_BINS_MAX MSP_POINTS_MAX
#endif

// Whether a lane's value q is one of the first `count`, which are MOST at most; lane 0 has the lowest.
template <class LAYOUT, int MOST>
inline bool msp_is_among(int q, int lane, int count) {
  return LAYOUT::index(q, 0) < MOST && LAYOUT::active(q, lane) && LAYOUT::index(q, lane) < count;
}

inline float2 msp_swapped(float2 value) {
  return float2(value.y, value.x);
}

// chirp: e^{-pi i m^2 / points}, m < points. chirp_spectrum: that of its conjugate, even and periodic in MSP_HALF points,
// divided by MSP_HALF.
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
  msp_exchange<MspLast, MspFirst>(v, shared, lane);
  msp_fft(v, shared, table, lane);
#pragma unroll
  for (int q = 0; q < MspLast::COUNT; ++q) {
    if (!msp_is_among<MspLast, WANTED_MAX>(q, lane, wanted)) continue;
    v[q] = msp_multiply(msp_swapped(v[q]), MSP_READ(chirp, MspLast::index(q, lane)));
  }
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
