// What becomes of a frame's spectrum while it is still in registers: powers, bands of a filterbank, a scale. The
// spectrum is never written to memory.
//
// In numpy, for the spectrum X of one frame:
//
//   power = ((abs(X)**2) ** exponent + eps) * gain    # MSP_POWER 1: sqrt(abs(X)**2 + eps) * gain
//   power = max(abs(X)**2, eps) ** exponent * gain    # MSP_FLOOR
//   bands = basis @ power                             # MSP_BANDED; otherwise bands = power
//   features = scaled(bands)                          # factor * log(...) + offset, or the bands as they are
//
// and with MSP_GRADIENT, for the gradient g of those features:
//
//   g_bands = g * (derivative of scaled at bands)
//   g_power = basis.T @ g_bands
//   g_X = g_power * (derivative of power at X)        # complex, by torch's convention
//
// Of each band only the bins from its first to its last are multiplied: see msp_add_up(). MSP_POWER: 1, 2, or 0 for any
// other power, which is an argument then. MSP_FLOOR: |X|^2 has a floor. MSP_SCALE: one of MSP_SCALE_*.
// MSP_CONTIGUOUS (of bands): the output is [rows, features, frames] in memory, else [rows, frames, features].
// MSP_RECOMPUTE: g_X stays in registers.
// MSP_SLOT_PAIRS: float2 of threadgroup memory per frame.

#include "features/extremes.metal"
#include "fft/stockham.metal"

#if MSP_GRADIENT
#define MSP_FEATURE float2
#else
#define MSP_FEATURE float
#endif

#if MSP_RECOMPUTE
#define MSP_STORE_GRADIENT(value) v[q] = value
#else
#define MSP_STORE_GRADIENT(value) if (live) output[k] = value
#endif

#if MSP_FLOOR
#define MSP_ADDED 0.0f
#else
#define MSP_ADDED eps
#endif

// NVIDIA's GPUs have registers for all of them, and lose time at every wait.
#define MSP_BINS_AT_ONCE (MSP_NVIDIA ? BINS::COUNT : 6)

#define MSP_SCALE_LINEAR 0
#define MSP_SCALE_CLAMP 1
#define MSP_SCALE_ADD 2
#define MSP_SCALE_LOG1P 3

#define MSP_ROWS_AT_ONCE 4  // of a filterbank's weights; a band has a multiple of it

struct MspFeatures {
  int bins;        // of the spectrum
  int width;       // features per frame
  int rounds;      // of bands: each lane takes one band per round
  int reach;       // bands that a bin may belong to (MSP_GRADIENT)
  float exponent;  // of |X|^2
  float eps;       // under the root of power 1, else added to the power; MSP_FLOOR: the least |X|^2
  float gain;      // times the power
  float amin;
  float factor;    // of the logarithm
  float offset;

  float power(float2 x) const {
#if MSP_FLOOR
    const float found = x.x * x.x + x.y * x.y;
    const float square = found < eps ? eps : found;  // NaN stays NaN, as in torch.clamp
#else
    const float square = x.x * x.x + x.y * x.y;
#endif
#if MSP_POWER == 1
    return metal::sqrt(square + MSP_ADDED) * gain;
#elif MSP_POWER == 2
    // NVIDIA's compiler needs more registers for the second in the gradient.
    return MSP_NVIDIA && MSP_GRADIENT ? (square + MSP_ADDED) * gain : square * gain + MSP_ADDED * gain;
#else
    return (metal::pow(square, exponent) + MSP_ADDED) * gain;
#endif
  }

  // The gradient of power() with respect to x for that of its result, by torch's convention: zero where x is zero, but
  // NaN there for powers below one, both as in torch; and zero below the floor.
  float2 power_gradient(float2 x, float gradient) const {
    const float square = x.x * x.x + x.y * x.y;
#if MSP_FLOOR
    if (square < eps) return float2(0.0f, 0.0f);
#endif
#if MSP_POWER == 1
    const float root = metal::sqrt(square + MSP_ADDED);
    return root == 0.0f ? float2(0.0f, 0.0f) : x * (gradient * gain / root);
#elif MSP_POWER == 2
    return x * (2.0f * gradient * gain);
#else
    if (square == 0.0f && exponent > 0.5f) return float2(0.0f, 0.0f);
    return x * (2.0f * exponent * metal::pow(square, exponent - 1.0f) * gradient * gain);
#endif
  }

  // NaN stays NaN, as in torch.clamp.
  float scaled(float value) const {
#if MSP_SCALE == MSP_SCALE_LINEAR
    return value;
#elif MSP_SCALE == MSP_SCALE_CLAMP
    return factor * metal::log(value < amin ? amin : value) + offset;
#elif MSP_SCALE == MSP_SCALE_ADD
    return factor * metal::log(value + amin) + offset;
#else
    // log(1 + t) to full precision for small t (Kahan): what rounding does to 1 + t cancels in the quotient.
    const float t = value / amin, u = 1.0f + t;
    return factor * (u == 1.0f ? t : u == INFINITY ? u : metal::log(u) * (t / (u - 1.0f))) + offset;
#endif
  }

  float scaled_gradient(float value, float gradient) const {
#if MSP_SCALE == MSP_SCALE_LINEAR
    return gradient;
#elif MSP_SCALE == MSP_SCALE_CLAMP
    return value >= amin ? gradient * factor / value : 0.0f;
#else
    return gradient * factor / (value + amin);
#endif
  }
};

// Where the tables of a filterbank are.
struct MspBands {
  const device int4* layout;     // see msp_add_up(): rounds rows of one per lane, and one row more
  const device float2* weights;  // rows of one pair per lane
  const device int* first;       // per bin: the first band that it belongs to (MSP_GRADIENT)
  const device float* shares;    // reach rows of one weight per bin (MSP_GRADIENT)
};

// From a kernel's parameters.
template <class PARAMS>
inline MspFeatures msp_wanted_features(int bins, constant PARAMS& params, constant MspFeatureScale& scale) {
  const MspFeatures features = {bins, params.width, params.rounds, params.reach, scale.exponent, scale.eps,
                                scale.gain, scale.amin, scale.factor, scale.offset};
  return features;
}

// Powers that may be read, of so many bins: those behind them are zero.
inline int msp_band_room(int bins) {
  return (bins + 2 * MSP_ROWS_AT_ONCE - 1) / (2 * MSP_ROWS_AT_ONCE) * (2 * MSP_ROWS_AT_ONCE);
}

// Which band a lane adds up in a round, and where that is. In numpy, for powers of a frame:
//
//   weight, rows, begin, band = layout[round * MSP_LANES + lane]
//   pairs = powers.reshape(-1, 2)[begin : begin + rows]
//   bands[band] = sum(pairs * weights[weight : weight + rows * MSP_LANES : MSP_LANES])
//
// So neighbouring lanes read neighbouring weights; and which lane has which band is chosen so that those of half a
// simdgroup read pairs in different banks of threadgroup memory (kernels/tables/band_order.py).
inline float msp_add_up(const threadgroup float* powers, MspBands bands, int4 band) {
  const threadgroup float2* pairs = (const threadgroup float2*)powers;
  int weight = band.x, pair = band.z;
  float2 sum = float2(0.0f, 0.0f);
  MSP_ROLLED
  for (int rows = band.y; rows > 0; rows -= MSP_ROWS_AT_ONCE) {
    MSP_UNROLL
    for (int i = 0; i < MSP_ROWS_AT_ONCE; ++i) {
      sum = sum + pairs[pair + i] * bands.weights[weight + i * MSP_LANES];
    }
    pair += MSP_ROWS_AT_ONCE;
    weight += MSP_ROWS_AT_ONCE * MSP_LANES;
  }
  return sum.x + sum.y;
}

// From the bins in v to the output. BINS says whether v[q] is a bin, and which.
// feature_stride: from band to band in the output, or from feature to feature in their gradient (MSP_GRADIENT).
template <class BINS>
MSP_INLINE void msp_finish_frame(
    thread float2* v, BINS owner, threadgroup float* memory, MspFeatures features, MspBands bands,
    const device float* gradient, int feature_stride, bool has_gradient, device MSP_FEATURE* output, bool live,
    thread float2* extremes, int lane) {
#if MSP_BANDED
  const device int4* layout = bands.layout + lane;
  int4 next = *layout;  // read a round before it is needed
  MSP_UNROLL
  for (int q = 0; q < BINS::COUNT; ++q) {
    if (owner.has(q, lane)) memory[owner.bin(q, lane)] = features.power(v[q]);
  }
  const int room = msp_band_room(features.bins);
  for (int k = features.bins + int(lane); k < room; k += MSP_LANES) memory[k] = 0.0f;
  MSP_SYNC();
#if MSP_GRADIENT
  threadgroup float* band_gradients = memory + room;
#endif
  MSP_ROLLED
  for (int round = features.rounds; round > 0; --round) {
    const int4 own = next;
    layout += MSP_LANES;
    next = *layout;
    const int band = own.w;
    const float value = msp_add_up(memory, bands, own);
    if (band < features.width) {
#if MSP_GRADIENT
      const float given = has_gradient ? gradient[band * feature_stride] : 0.0f;
      band_gradients[band] = features.scaled_gradient(value, given);
#else
      const float result = features.scaled(value);
      if (live) {
        output[band * feature_stride] = result;
        *extremes = msp_extremes(*extremes, float2(result, result));
      }
#endif
    }
  }
  MSP_SYNC();
#if MSP_GRADIENT
  // Several bins of a lane at once: their tables are far away, and the loads of one would wait for those of the other.
  MSP_UNROLL
  for (int from = 0; from < BINS::COUNT; from += MSP_BINS_AT_ONCE) {
    int first[MSP_BINS_AT_ONCE];
    float sums[MSP_BINS_AT_ONCE];
    MSP_UNROLL
    for (int i = 0; i < MSP_BINS_AT_ONCE; ++i) {
      const int q = min(from + i, BINS::COUNT - 1);
      first[i] = bands.first[owner.has(q, lane) ? owner.bin(q, lane) : 0];
      sums[i] = 0.0f;
    }
    for (int j = 0; j < features.reach; ++j) {
      MSP_UNROLL
      for (int i = 0; i < MSP_BINS_AT_ONCE; ++i) {
        const int q = from + i;
        if (q >= BINS::COUNT) continue;
        const int k = owner.has(q, lane) ? owner.bin(q, lane) : 0;
        sums[i] += bands.shares[j * features.bins + k] * band_gradients[first[i] + j];
      }
    }
    MSP_UNROLL
    for (int i = 0; i < MSP_BINS_AT_ONCE; ++i) {
      const int q = from + i;
      if (q >= BINS::COUNT || !owner.has(q, lane)) continue;
      const int k = owner.bin(q, lane);
      MSP_STORE_GRADIENT(features.power_gradient(v[q], sums[i]));
    }
  }
  MSP_SYNC();
#endif
#else
  MSP_UNROLL
  for (int q = 0; q < BINS::COUNT; ++q) {
    if (!owner.has(q, lane)) continue;
    const int k = owner.bin(q, lane);
#if MSP_GRADIENT
    const float given = has_gradient && k < features.width ? gradient[k * feature_stride] : 0.0f;
    MSP_STORE_GRADIENT(features.power_gradient(v[q], features.scaled_gradient(features.power(v[q]), given)));
#else
    if (live && k < features.width) {
      const float result = features.scaled(features.power(v[q]));
      output[k] = result;
      *extremes = msp_extremes(*extremes, float2(result, result));
    }
#endif
  }
#if !MSP_GRADIENT
  for (int k = features.bins + int(lane); k < features.width && live; k += MSP_LANES) output[k] = features.scaled(0.0f);
#endif
#endif
}
