// The terms of a loss between the magnitudes of two spectra, bin by bin, while these are still in registers.
//
// In numpy, for the spectra X of the input and Y of the target:
//
//   a, b = (maximum(abs(spectrum)**2, eps) for spectrum in (X, Y))
//   x, y = sqrt(a), sqrt(b)
//   distance = abs                                    # MSP_SQUARED: square
//   terms = (y - x)**2, b,
//       distance(log(quotient)),                      # MSP_HAS_LOG, else 0
//       distance(x - y)                               # MSP_HAS_LINEAR, else 0
//
// where quotient is the larger one of x / y and y / x, or with MSP_HAS_ADDED of (factor * x + added) / (factor * y +
// added) and its inverse. Logarithms of several quotients are taken at once, of their product.

// A magnitude, and one over it. Infinite squares have infinite magnitudes, and NaN stays NaN.
struct MspRoot {
  float value;
  float inverse;
};

inline MspRoot msp_root(float square) {
  const float inverse = metal::rsqrt(square);
  const MspRoot root = {square == INFINITY ? square : square * inverse, inverse};
  return root;
}

struct MspMagnitudes {
  float eps;     // positive
  float factor;  // positive
  float added;

  // |X|^2, raised to eps: NaN stays NaN, as in torch.clamp.
  float square(float2 x) const {
    const float given = x.x * x.x + x.y * x.y;
    return given < eps ? eps : given;
  }

  static float distance(float difference) {
#if MSP_SQUARED
    return difference * difference;
#else
    return metal::fabs(difference);
#endif
  }

  // At least 1, and 1 for equal ones.
  float quotient(MspRoot x, MspRoot y) const {
    const bool larger = x.value > y.value;
#if MSP_HAS_ADDED
    const float a = factor * x.value + added, b = factor * y.value + added;
    return larger ? a / b : b / a;
#else
    return x.value == y.value ? 1.0f : (larger ? x.value : y.value) * (larger ? y.inverse : x.inverse);
#endif
  }

  // The gradient of the input's bin, by torch's convention, where the terms count as `weights` say (the second does not
  // depend on the input). b: square() of the target's bin. Nothing goes back through a magnitude raised to eps.
  float2 gradient(float2 bin, float b, float4 weights) const {
    const float a = square(bin);
    const MspRoot x = msp_root(a), y = msp_root(b);
    const float difference = x.value - y.value;
    float sum = weights.x == 0.0f ? 0.0f : 2.0f * weights.x * difference;  // NaN where nobody asks is nobody's NaN
    float steepness = 0.0f;  // of the logarithm of x
#if MSP_HAS_LOG
#if MSP_HAS_ADDED
    steepness = weights.z * factor / (factor * x.value + added);
#else
    steepness = weights.z * x.inverse;
#endif
#endif
#if MSP_SQUARED
#if MSP_HAS_LOG
    const float logarithm = metal::log(quotient(x, y));
    sum += 2.0f * (difference < 0.0f ? -logarithm : logarithm) * steepness;
#endif
#if MSP_HAS_LINEAR
    sum += 2.0f * weights.w * difference;
#endif
#else
#if MSP_HAS_LINEAR
    steepness += weights.w;
#endif
    sum += difference > 0.0f ? steepness : difference < 0.0f ? -steepness : 0.0f;  // of the logarithms, too
#endif
    return bin * (bin.x * bin.x + bin.y * bin.y >= eps ? sum * x.inverse : 0.0f);
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
