// Two neighbouring window values; a window shorter than n_fft sits in the middle of zeros. `paired`: it is as long as
// n_fft and starts at an 8-byte boundary.
inline float2 msp_window_pair(const device float* window, int m, int left, int win_length, bool paired) {
  if (paired) return ((const device float2*)window)[m];
  const int a = 2 * m - left, b = a + 1;
  return float2(a >= 0 && a < win_length ? window[a] : 0.0f, b >= 0 && b < win_length ? window[b] : 0.0f);
}
