// The transform of the general family: MSP_HALF points, or any number of points within them by Bluestein's algorithm,
// as a convolution with a chirp. Then the number is an argument, and a kernel serves all sizes up to half its own.
//
// Values come in the layout MspFirst and leave in the layout MspLast; those from `points` on do not count.

struct MspTransform {
  int n_fft;
  int points;  // n_fft, or half of it where a real frame is packed as x[2m] + i x[2m+1] (MSP_PACKED)
};

// On NVIDIA: how many threads of these kernels live on a multiprocessor. For 1152 and 2304 points and so on, frames of
// 96 threads or 192, more and therefore smaller ones are faster by a fifth; for powers of two they are slower.
#if MSP_BLUESTEIN && MSP_LANES % 3 == 0
#define MSL_RESIDENT_THREADS 768
#endif

// The most points a kernel is for. Fixed, so that values that are never one of them take no instructions.
#if MSP_BLUESTEIN
#define MSP_POINTS_MAX ((MSP_HALF + 1) / 2)
#else
#define MSP_POINTS_MAX MSP_HALF
#endif

// Whether a lane's value q is one of the points; lane 0 has the lowest.
template <class LAYOUT>
inline bool msp_is_point(int q, int lane, int points) {
  return LAYOUT::index(q, 0) < MSP_POINTS_MAX && LAYOUT::active(q, lane) && LAYOUT::index(q, lane) < points;
}

inline float2 msp_swapped(float2 value) {
  return float2(value.y, value.x);
}

// chirp: e^{-pi i m^2 / points}, m < points. chirp_spectrum: that of its conjugate, even and periodic in MSP_HALF points,
// divided by MSP_HALF.
inline void msp_transform(
    thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, const device float2* chirp,
    const device float2* chirp_spectrum, int points, int lane) {
#if MSP_BLUESTEIN
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    if (!msp_is_point<MspFirst>(q, lane, points)) continue;
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
    if (!msp_is_point<MspLast>(q, lane, points)) continue;
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
