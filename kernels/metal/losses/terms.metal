// The terms of a loss between the magnitudes of two spectra, bin by bin, while these are still in registers.
//
// In numpy, for the spectra X of the input and Y of the target:
//
//   x, y = (sqrt(maximum(abs(spectrum)**2, eps)) for spectrum in (X, Y))
//   a, b = (log(factor * magnitude + added) for magnitude in (x, y))
//   terms = (y - x)**2, y**2, abs(a - b), abs(x - y)  # `squared`: (a - b)**2, (x - y)**2

struct MspMagnitudes {
  float eps;
  float factor;  // positive
  float added;
  bool squared;
  bool has_log;  // whether anybody wants the third term, and the last
  bool has_linear;

  static float square(float2 x) {
    return x.x * x.x + x.y * x.y;
  }

  float of(float2 x) const {
    const float given = square(x);
    return metal::sqrt(given < eps ? eps : given);  // NaN stays NaN, as in torch.clamp
  }

  float logarithm(float magnitude) const {
    return metal::log(factor * magnitude + added);
  }

  float distance(float difference) const {
    return squared ? difference * difference : metal::fabs(difference);
  }

  float4 terms(float x, float y) const {
    const float difference = x - y;
    return float4(difference * difference, y * y, has_log ? distance(logarithm(x) - logarithm(y)) : 0.0f,
                  has_linear ? distance(difference) : 0.0f);
  }

  // The gradient of the input's bin, by torch's convention, where the terms count as `weights` say (the second does not
  // depend on the input). y: the magnitude of the target's. Nothing goes back through a magnitude raised to eps.
  float2 gradient(float2 bin, float y, float4 weights) const {
    const float x = of(bin), difference = x - y;
    float sum = weights.x == 0.0f ? 0.0f : 2.0f * weights.x * difference;  // NaN where nobody asks is nobody's NaN
    if (squared) {
      if (has_log) sum += 2.0f * weights.z * (logarithm(x) - logarithm(y)) * factor / (factor * x + added);
      if (has_linear) sum += 2.0f * weights.w * difference;
    } else {
      const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : 0.0f;  // of the logarithms', too
      if (has_log) sum += weights.z * sign * factor / (factor * x + added);
      if (has_linear) sum += weights.w * sign;
    }
    return bin * (square(bin) >= eps ? sum / x : 0.0f);
  }
};

// The sum over a simdgroup, the same in all its lanes, in the same order every time.
inline float4 msp_sum_over_lanes(float4 sum) {
  for (ushort width = 16; width > 0; width /= 2) {
    sum = sum + float4(simd_shuffle_xor(sum.x, width), simd_shuffle_xor(sum.y, width), simd_shuffle_xor(sum.z, width),
                       simd_shuffle_xor(sum.w, width));
  }
  return sum;
}

// Four sums in memory. MEMORY: a pointer to float.
template <class MEMORY>
inline float4 msp_take_sums(MEMORY from) {
  return float4(from[0], from[1], from[2], from[3]);
}

template <class MEMORY>
inline void msp_store_sums(MEMORY to, float4 sums) {
  to[0] = sums.x;
  to[1] = sums.y;
  to[2] = sums.z;
  to[3] = sums.w;
}
