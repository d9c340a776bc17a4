// The real spectrum of a frame in its lanes' registers, from the packed one in pairs (k, half - k).

#include "fft/stockham.metal"
#include "frames/unpack.metal"

// Bins of the real spectrum that a lane holds after msp_split_pairs().
struct MspRealBins {
  static constexpr constant int COUNT = 2 * MSP_PAIRS + 1;

  // Whether there is a bin q.
  bool has(int q, int lane) const {
    if (q == 2 * MSP_PAIRS) return lane == 0;
    if (q == 1 && lane == 0 && MSP_HALF % 2 == 1) return false;
    return msp_pair_active(q / 2, lane);
  }

  // Its number; some number below MSP_BINS where there is none.
  int bin(int q, int lane) const {
    if (q == 2 * MSP_PAIRS) return MSP_HALF;
    if (q == 1 && lane == 0) return MSP_HALF / 2;
    const int k = msp_pair_bin(q / 2, lane);
    return q % 2 == 0 ? k : MSP_HALF - k;
  }
};

// Turns the pairs in v into the bins that MspRealBins says. Lanes without a pair compute what nobody reads.
MSP_INLINE void msp_split_pairs(thread float2* v, const device float2* pair_twiddles, int lane) {
  const MspPairBins pairs = msp_pair_bins(lane);
  v[2 * MSP_PAIRS] = float2(v[0].x - v[0].y, 0.0f);
  MSP_UNROLL
  for (int t = 0; t < MSP_PAIRS; ++t) {
    const float2 a = v[2 * t], b = v[2 * t + 1];
    if (t == 0 && lane == 0) {  // bin 0 and the middle one
      v[0] = float2(a.x + a.y, 0.0f);
      v[1] = float2(b.x, -b.y);
    } else {
      const MspBinPair bins = msp_unpack(a, b, MSP_READ(pair_twiddles, pairs.at(t)), 0.5f);
      v[2 * t] = bins.low;
      v[2 * t + 1] = bins.high;
    }
  }
}
