// The two kernels of mps-spectro's approach: frames for a library's FFT, and overlap-add behind its inverse.
#include <metal_stdlib>
using namespace metal;

// frames[row, frame, i] = window[i] * signal[row, frame * hop + i - pad], reflected at both ends.
kernel void seed_frames(const device float* signal [[buffer(0)]], const device float* window [[buffer(1)]],
                        device float* frames [[buffer(2)]], constant int& samples [[buffer(3)]],
                        constant int& n_fft [[buffer(4)]], constant int& hop_length [[buffer(5)]],
                        constant int& pad [[buffer(6)]], constant int& count [[buffer(7)]],
                        uint3 place [[thread_position_in_grid]]) {
  const int i = int(place.x), frame = int(place.y), row = int(place.z);
  if (i >= n_fft || frame >= count) return;
  int t = frame * hop_length + i - pad;
  if (t < 0) t = -t;
  if (t >= samples) t = 2 * (samples - 1) - t;
  frames[(row * count + frame) * n_fft + i] = signal[row * samples + t] * window[i];
}

// output[row, t] = sum of the frames over t, times the window, divided by the sum of the window's squares there.
kernel void seed_overlap_add(const device float* frames [[buffer(0)]], const device float* window [[buffer(1)]],
                             device float* output [[buffer(2)]], constant int& length [[buffer(3)]],
                             constant int& n_fft [[buffer(4)]], constant int& hop_length [[buffer(5)]],
                             constant int& count [[buffer(6)]], uint2 place [[thread_position_in_grid]]) {
  const int t = int(place.x), row = int(place.y);
  if (t >= length) return;
  const int first = t < n_fft ? 0 : (t - n_fft) / hop_length + 1;
  const int last = min(t / hop_length, count - 1);
  float sum = 0.0f, envelope = 0.0f;
  for (int frame = first; frame <= last; frame++) {
    const int i = t - frame * hop_length;
    const float weight = window[i];
    sum += frames[(row * count + frame) * n_fft + i] * weight;
    envelope += weight * weight;
  }
  output[row * length + t] = envelope > 1e-11f ? sum / envelope : sum;
}
