// One complex FFT of MSP_HALF points (half of n_fft: a real frame packed as x[2m] + i x[2m+1]) by MSP_LANES lanes.
// Stockham autosort: values stay in registers, stages exchange them through threadgroup memory. Which value a lane
// holds is described by small "layout" structs, so that loading, exchanging, pairing and storing share one body.
//
// The plan in front of this text defines: MSP_N_FFT, MSP_LANES, MSP_FRAMES (frames in flight per threadgroup),
// MSP_STAGES, MSP_RADIX_0 .. MSP_RADIX_5, MSP_VALUES (registers per lane), MSP_MIRRORED, MSP_MIRROR_RADIX,
// MSP_SPLIT, MSP_PAD_SHIFT, MSP_EXCHANGE_SIZE (elements of exchange memory per frame).

#include "butterflies.metal"

#define MSP_HALF (MSP_N_FFT / 2)
#define MSP_BINS (MSP_HALF + 1)

// Lanes of one frame that all sit in one simdgroup need no threadgroup barrier.
#if MSP_LANES <= 32
#define MSP_SYNC() simdgroup_barrier(mem_flags::mem_threadgroup)
#else
#define MSP_SYNC() threadgroup_barrier(mem_flags::mem_threadgroup)
#endif

#if MSP_SPLIT
#define MSP_EXCHANGE_TYPE float
#else
#define MSP_EXCHANGE_TYPE float2
#endif

// Tables do not change while a kernel runs, which NVIDIA's compiler has to be told: then it reads them ahead of barriers.
// Not in the general istft, whose two transforms and running sums leave no registers for that.
#if defined(MSL_READ) && !(MSP_BLUESTEIN && MSP_INVERSE)
#define MSP_READ(TABLE, INDEX) MSL_READ(TABLE, INDEX)
#else
#define MSP_READ(TABLE, INDEX) (TABLE)[INDEX]
#endif

inline int msp_padded(int index) {  // spreads strided accesses over the banks of threadgroup memory
  return index + int(uint(index) >> MSP_PAD_SHIFT);
}

#define MSP_PAD_BLOCK (1 << MSP_PAD_SHIFT)

// Where the element stands that is `offset` behind element `base`. SPLIT: as many spare elements lie between the two
// whatever the base is, so the offset is a constant of the access, and all accesses of a lane share one address.
template <bool SPLIT>
inline int msp_place(int base, int offset) {
  return SPLIT ? msp_padded(base) + msp_padded(offset) : msp_padded(base + offset);
}

// Number of butterflies of radix R that one lane computes.
template <int R>
struct MspButterflies {
  static constexpr constant int TOTAL = MSP_HALF / R;
  static constexpr constant int COUNT = (MSP_HALF / R + MSP_LANES - 1) / MSP_LANES;
  static constexpr constant bool EVEN = (MSP_HALF / R) % MSP_LANES == 0;
  // Whole simdgroups have none, but a fourth at most: then it pays to let them rest (H100: 0.062 against 0.068 ms at
  // n_fft 3072; 0.078 against 0.074 at 5120, where three of eight would rest).
  static constexpr constant bool RESTING = COUNT == 1 && MSP_LANES - TOTAL >= 32 && 4 * TOTAL >= 3 * MSP_LANES;
};

// Which butterfly a lane's slot b holds. In a mirrored stage a lane owns butterflies i and TOTAL - i, so that the
// spectrum values k and MSP_HALF - k, which the real transform combines, meet in one lane without an exchange.
template <int R, bool MIRRORED>
inline int msp_butterfly(int b, int lane) {
  if (MIRRORED) {
    if (b == 0) return lane;
    return lane == 0 ? MSP_LANES : MspButterflies<R>::TOTAL - lane;
  }
  return lane + b * MSP_LANES;
}

// The layouts. index: which element a lane's value q is; place: where that stands in exchange memory; active: whether
// there is one.

// Values that enter a stage of radix R: x[i + j * TOTAL] for butterfly i.
template <int R, bool MIRRORED>
struct MspStageInput {
  static constexpr constant int COUNT = R * MspButterflies<R>::COUNT;
  static int index(int q, int lane) {
    return msp_butterfly<R, MIRRORED>(q / R, lane) + q % R * MspButterflies<R>::TOTAL;
  }
  static int place(int q, int lane) {
    return msp_place<MspButterflies<R>::TOTAL % MSP_PAD_BLOCK == 0>(
        msp_butterfly<R, MIRRORED>(q / R, lane), q % R * MspButterflies<R>::TOTAL);
  }
  static bool active(int q, int lane) {
    return MspButterflies<R>::EVEN || msp_butterfly<R, MIRRORED>(q / R, lane) < MspButterflies<R>::TOTAL;
  }
};

// Values that leave a stage of radix R behind stages whose radices multiply to P.
template <int R, int P, bool MIRRORED>
struct MspStageOutput {
  static constexpr constant int COUNT = R * MspButterflies<R>::COUNT;
  // Offsets of whole blocks, or within a block that the base does not share with others.
  static constexpr constant bool SPLIT =
      P % MSP_PAD_BLOCK == 0 || (MSP_PAD_BLOCK % P == 0 && P * R % MSP_PAD_BLOCK == 0) || MSP_PAD_BLOCK % (P * R) == 0;
  static int base(int q, int lane) {
    const uint i = uint(msp_butterfly<R, MIRRORED>(q / R, lane));  // unsigned, for it is divided
    return int(i / P * (P * R) + i % P);
  }
  static int index(int q, int lane) {
    return base(q, lane) + q % R * P;
  }
  static int place(int q, int lane) {
    return msp_place<SPLIT>(base(q, lane), q % R * P);
  }
  static bool active(int q, int lane) {
    return MspStageInput<R, MIRRORED>::active(q, lane);
  }
};

// Pairs (k, MSP_HALF - k) of the packed spectrum, value 2t and 2t + 1 of pair t. Pair 0 of lane 0 is (0, MSP_HALF / 2):
// bin 0 and the middle bin are their own partners.
#define MSP_PAIRS_TOTAL ((MSP_HALF + 1) / 2)
#define MSP_PAIRS ((MSP_PAIRS_TOTAL + MSP_LANES - 1) / MSP_LANES)
#if MSP_MIRRORED
#define MSP_PAIR_STRIDE (MSP_HALF / MSP_MIRROR_RADIX)
#else
#define MSP_PAIR_STRIDE MSP_LANES
#endif

// The bins k of a lane's pairs: two bases, which addresses are made of once, and constants.
struct MspPairBins {
  int first;
  int second;  // of the second half of the pairs

  int at(int t) const {
    return (t < MSP_PAIRS / 2 ? first : second) + t * MSP_PAIR_STRIDE;
  }
};

inline MspPairBins msp_pair_bins(int lane) {
  MspPairBins bins;
  bins.first = lane;
  bins.second = lane;
#if MSP_MIRRORED
  // Lane 0 owns the butterfly in the middle as well.
  if (lane == 0) bins.second = MSP_PAIR_STRIDE / 2 - MSP_MIRROR_RADIX / 2 * MSP_PAIR_STRIDE;
#endif
  return bins;
}

inline int msp_pair_bin(int t, int lane) {
  const MspPairBins bins = msp_pair_bins(lane);
  return bins.at(t);
}

inline bool msp_pair_active(int t, int lane) {
  return MSP_PAIRS_TOTAL % MSP_LANES == 0 || msp_pair_bin(t, lane) < MSP_PAIRS_TOTAL;
}

struct MspPairs {
  static constexpr constant int COUNT = 2 * MSP_PAIRS;
  static int index(int q, int lane) {
    const int k = msp_pair_bin(q / 2, lane);
    if (q % 2 == 0) return k;
    return k == 0 ? MSP_HALF / 2 : MSP_HALF - k;
  }
  static int place(int q, int lane) {
#if MSP_MIRRORED
    return msp_padded(index(q, lane));
#else
    const int offset = q / 2 * MSP_LANES;
    if (q % 2 == 0) return msp_place<MSP_LANES % MSP_PAD_BLOCK == 0>(lane, offset);
    if (q == 1 && lane == 0) return msp_padded(MSP_HALF / 2);
    if (MSP_LANES % MSP_PAD_BLOCK == 0) return msp_padded(MSP_HALF - lane) - msp_padded(offset);
    return msp_padded(MSP_HALF - lane - offset);
#endif
  }
  static bool active(int q, int lane) {
    if (MSP_HALF % 2 == 1 && q == 1 && lane == 0) return false;  // no middle bin: bin 0 is alone
    return msp_pair_active(q / 2, lane);
  }
};

// Moves a frame's values from the layout WRITER to the layout READER through threadgroup memory.
template <class WRITER, class READER>
inline void msp_exchange(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
#if MSP_SPLIT
  float2 moved[MSP_VALUES];
#pragma unroll
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) shared[WRITER::place(q, lane)] = v[q].x;
  }
  MSP_SYNC();
#pragma unroll
  for (int q = 0; q < READER::COUNT; ++q) {
    moved[q].x = READER::active(q, lane) ? shared[READER::place(q, lane)] : 0.0f;
  }
  MSP_SYNC();
#pragma unroll
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) shared[WRITER::place(q, lane)] = v[q].y;
  }
  MSP_SYNC();
#pragma unroll
  for (int q = 0; q < READER::COUNT; ++q) {
    moved[q].y = READER::active(q, lane) ? shared[READER::place(q, lane)] : 0.0f;
  }
#pragma unroll
  for (int q = 0; q < READER::COUNT; ++q) v[q] = moved[q];
#else
#pragma unroll
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) shared[WRITER::place(q, lane)] = v[q];
  }
  MSP_SYNC();
#pragma unroll
  for (int q = 0; q < READER::COUNT; ++q) {
    v[q] = READER::active(q, lane) ? shared[READER::place(q, lane)] : float2(0.0f, 0.0f);
  }
#endif
  MSP_SYNC();
}

// Twiddles w^j, j < R, of column i % P: rows w^1, w^2, w^4, w^8 come from a table made in float64, the others are one
// product away (relative L2 1.2e-7 against 1.1e-7 with a full table, at a quarter of the loads).
template <int R, int P>
inline void msp_twiddle(thread float2* v, const device float2* table, int column) {
  float2 w[R > 8 ? R : 9];
#pragma unroll
  for (int j = 1; j < R; ++j) {
    if (j == 1) w[j] = MSP_READ(table, column);
    else if (j == 2) w[j] = MSP_READ(table, P + column);
    else if (j == 4) w[j] = MSP_READ(table, 2 * P + column);
    else if (j == 8) w[j] = MSP_READ(table, 3 * P + column);
    else if (j < 4) w[j] = msp_multiply(w[2], w[1]);
    else if (j < 8) w[j] = msp_multiply(w[4], w[j - 4]);
    else w[j] = msp_multiply(w[8], w[j - 8]);
    v[j] = msp_multiply(v[j], w[j]);
  }
}

// The butterflies of one stage, in registers. Idle lanes beside busy ones compute what nobody reads; simdgroups of them
// only do nothing.
template <int R, int P, bool MIRRORED>
inline void msp_stage(thread float2* v, const device float2* table, int lane) {
#pragma unroll
  for (int b = 0; b < MspButterflies<R>::COUNT; ++b) {
    if (MspButterflies<R>::RESTING && !MspStageInput<R, MIRRORED>::active(b * R, lane)) continue;
    if (P > 1) msp_twiddle<R, P>(v + b * R, table, int(uint(msp_butterfly<R, MIRRORED>(b, lane)) % P));
    MspRadix<R>::apply(v + b * R);
  }
}

// Rows of the twiddle table that a stage of radix R uses.
#define MSP_ROWS(R) ((R) > 8 ? 4 : (R) > 4 ? 3 : (R) > 2 ? 2 : 1)

#define MSP_P_0 1
#define MSP_P_1 (MSP_P_0 * MSP_RADIX_0)
#define MSP_P_2 (MSP_P_1 * MSP_RADIX_1)
#define MSP_P_3 (MSP_P_2 * MSP_RADIX_2)
#define MSP_P_4 (MSP_P_3 * MSP_RADIX_3)
#define MSP_P_5 (MSP_P_4 * MSP_RADIX_4)

#if MSP_STAGES == 1
#define MSP_LAST_RADIX MSP_RADIX_0
#define MSP_LAST_P MSP_P_0
#elif MSP_STAGES == 2
#define MSP_LAST_RADIX MSP_RADIX_1
#define MSP_LAST_P MSP_P_1
#elif MSP_STAGES == 3
#define MSP_LAST_RADIX MSP_RADIX_2
#define MSP_LAST_P MSP_P_2
#elif MSP_STAGES == 4
#define MSP_LAST_RADIX MSP_RADIX_3
#define MSP_LAST_P MSP_P_3
#elif MSP_STAGES == 5
#define MSP_LAST_RADIX MSP_RADIX_4
#define MSP_LAST_P MSP_P_4
#else
#define MSP_LAST_RADIX MSP_RADIX_5
#define MSP_LAST_P MSP_P_5
#endif

// Only the last stage of a forward transform, from which pairs are taken, can be mirrored.
#define MSP_IS_MIRRORED(S) (MSP_MIRRORED && (S) == MSP_STAGES - 1)

typedef MspStageInput<MSP_RADIX_0, MSP_IS_MIRRORED(0)> MspFirst;
typedef MspStageOutput<MSP_LAST_RADIX, MSP_LAST_P, MSP_IS_MIRRORED(MSP_STAGES - 1)> MspLast;

// Where the twiddle tables of the stages start: they follow each other.
#define MSP_TABLE_1 0
#define MSP_TABLE_2 (MSP_TABLE_1 + MSP_ROWS(MSP_RADIX_1) * MSP_P_1)
#define MSP_TABLE_3 (MSP_TABLE_2 + MSP_ROWS(MSP_RADIX_2) * MSP_P_2)
#define MSP_TABLE_4 (MSP_TABLE_3 + MSP_ROWS(MSP_RADIX_3) * MSP_P_3)
#define MSP_TABLE_5 (MSP_TABLE_4 + MSP_ROWS(MSP_RADIX_4) * MSP_P_4)

// From the layout MspFirst to the layout MspLast.
inline void msp_fft(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
  msp_stage<MSP_RADIX_0, MSP_P_0, MSP_IS_MIRRORED(0)>(v, table, lane);
#if MSP_STAGES > 1
  msp_exchange<MspStageOutput<MSP_RADIX_0, MSP_P_0, MSP_IS_MIRRORED(0)>, MspStageInput<MSP_RADIX_1, MSP_IS_MIRRORED(1)> >(v, shared, lane);
  msp_stage<MSP_RADIX_1, MSP_P_1, MSP_IS_MIRRORED(1)>(v, table + MSP_TABLE_1, lane);
#endif
#if MSP_STAGES > 2
  msp_exchange<MspStageOutput<MSP_RADIX_1, MSP_P_1, MSP_IS_MIRRORED(1)>, MspStageInput<MSP_RADIX_2, MSP_IS_MIRRORED(2)> >(v, shared, lane);
  msp_stage<MSP_RADIX_2, MSP_P_2, MSP_IS_MIRRORED(2)>(v, table + MSP_TABLE_2, lane);
#endif
#if MSP_STAGES > 3
  msp_exchange<MspStageOutput<MSP_RADIX_2, MSP_P_2, MSP_IS_MIRRORED(2)>, MspStageInput<MSP_RADIX_3, MSP_IS_MIRRORED(3)> >(v, shared, lane);
  msp_stage<MSP_RADIX_3, MSP_P_3, MSP_IS_MIRRORED(3)>(v, table + MSP_TABLE_3, lane);
#endif
#if MSP_STAGES > 4
  msp_exchange<MspStageOutput<MSP_RADIX_3, MSP_P_3, MSP_IS_MIRRORED(3)>, MspStageInput<MSP_RADIX_4, MSP_IS_MIRRORED(4)> >(v, shared, lane);
  msp_stage<MSP_RADIX_4, MSP_P_4, MSP_IS_MIRRORED(4)>(v, table + MSP_TABLE_4, lane);
#endif
#if MSP_STAGES > 5
  msp_exchange<MspStageOutput<MSP_RADIX_4, MSP_P_4, MSP_IS_MIRRORED(4)>, MspStageInput<MSP_RADIX_5, MSP_IS_MIRRORED(5)> >(v, shared, lane);
  msp_stage<MSP_RADIX_5, MSP_P_5, MSP_IS_MIRRORED(5)>(v, table + MSP_TABLE_5, lane);
#endif
}

// The spectrum in a lane's registers after msp_fft, as pairs, and pairs as what msp_fft starts from.
#if MSP_MIRRORED
inline float2 msp_choose(bool condition, float2 a, float2 b) {
  return float2(condition ? a.x : b.x, condition ? a.y : b.y);
}

inline void msp_to_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE*, int lane) {
  const int R = MSP_MIRROR_RADIX;
  const bool zero = lane == 0;
  float2 p[MSP_VALUES];
#pragma unroll
  for (int t = 0; t < R; ++t) {
    const int a = t < R / 2 ? t : R / 2 + t;                             // lane 0: its two butterflies pair within themselves
    const int b = t == 0 ? R / 2 : t < R / 2 ? R - t : 2 * R - 1 - (t - R / 2);
    p[2 * t] = msp_choose(zero, v[a], v[t]);
    p[2 * t + 1] = msp_choose(zero, v[b], v[2 * R - 1 - t]);
  }
#pragma unroll
  for (int q = 0; q < 2 * R; ++q) v[q] = p[q];
}
#else
inline void msp_to_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
  msp_exchange<MspLast, MspPairs>(v, shared, lane);
}
#endif

inline void msp_from_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
  msp_exchange<MspPairs, MspFirst>(v, shared, lane);
}
