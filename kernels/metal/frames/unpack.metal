// Bins of a real frame from the transform of its packed samples, x[2m] + i x[2m+1].

#include "butterflies.metal"

struct MspBinPair {
  float2 low;   // bin k
  float2 high;  // bin half - k
};

// With E and O the transforms of even and odd samples the packed one is Z = E + iO, and X[k] = E + w^k O,
// X[half - k] = conj(E - w^k O). a, b: Z[k] and Z[half - k], whose sums and differences are twice E and O; twiddle:
// w^k; weight: 1/2, or 1 where the factor was put elsewhere.
inline MspBinPair msp_unpack(float2 a, float2 b, float2 twiddle, float weight) {
  const float2 even = float2(a.x + b.x, a.y - b.y);
  const float2 turned = msp_multiply(float2(a.y + b.y, b.x - a.x) * weight, twiddle);
  const MspBinPair bins = {even * weight + turned,
                           float2(even.x * weight - turned.x, turned.y - even.y * weight)};
  return bins;
}
