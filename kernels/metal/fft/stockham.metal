// One complex FFT of MSP_HALF points (half of n_fft: a real frame packed as x[2m] + i x[2m+1]) by MSP_LANES lanes.
// Stockham autosort: values stay in registers, stages exchange them through threadgroup memory. Which value a lane
// holds is described by small "layout" structs, so that loading, exchanging, pairing and storing share one body.
//
// The plan in front of this text defines: MSP_N_FFT, MSP_LANES, MSP_FRAMES (frames in flight per threadgroup),
// MSP_STAGES, MSP_RADIX_0 .. MSP_RADIX_5 (1 behind the last), MSP_EVERY_0, MSP_SPARE_0 .. MSP_EVERY_4, MSP_SPARE_4
// (spare elements of the exchange behind a stage), MSP_LAST_RADIX, MSP_VALUES (registers per lane), MSP_MIRRORED,
// MSP_SPLIT, MSP_EXCHANGE_SIZE (elements of exchange memory per frame).

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

// Tables do not change while a kernel runs. NVIDIA's compiler has to be told; then it reads them ahead of barriers.
// Not in any_istft by Bluestein's algorithm: its two transforms and running sums leave no registers for that.
#if defined(MSL_READ) && !(MSP_BLUESTEIN && MSP_INVERSE)
#define MSP_READ(TABLE, INDEX) MSL_READ(TABLE, INDEX)
#else
#define MSP_READ(TABLE, INDEX) (TABLE)[INDEX]
#endif

// A place in exchange memory: what depends on the lane, and a constant that the access itself takes.
struct MspPlace {
  int base;
  int offset;
};

inline threadgroup MSP_EXCHANGE_TYPE* msp_at(threadgroup MSP_EXCHANGE_TYPE* shared, MspPlace place) {
  return MSP_NVIDIA ? shared + (place.base + place.offset) : (shared + place.base) + place.offset;
}

// Where an exchange's elements stand in threadgroup memory: SPARE elements are left out behind every EVERY of them, so
// that lanes whose elements lie a multiple of the banks apart do not meet in one bank.
template <int EVERY, int SPARE>
struct MspSpread {
  static int at(int index) {
    return SPARE == 0 ? index : index + int(uint(index) / uint(EVERY)) * SPARE;
  }
  // The element `offset` behind element `base`. WHOLE: the spare elements between the two do not depend on the base, so
  // the offset is a constant of the access, and all accesses of a lane share one address.
  template <bool WHOLE>
  static MspPlace place(int base, int offset) {
    const MspPlace place = {at(WHOLE ? base : base + offset), WHOLE ? at(offset) : 0};
    return place;
  }
  static constexpr constant int BLOCK = SPARE == 0 ? 1 : EVERY;
};

typedef MspSpread<1, 0> MspDense;

// Number of butterflies of radix R that one lane computes.
template <int R>
struct MspButterflies {
  static constexpr constant int TOTAL = MSP_HALF / R;
  static constexpr constant int COUNT = (MSP_HALF / R + MSP_LANES - 1) / MSP_LANES;
  static constexpr constant bool EVEN = (MSP_HALF / R) % MSP_LANES == 0;
  // Whole simdgroups have no butterfly, but no more than a fourth of all: then it pays to let them rest (H100: 0.062
  // against 0.068 ms at n_fft 3072; 0.078 against 0.074 at 5120, where three of eight would rest).
  static constexpr constant bool RESTING = COUNT == 1 && MSP_LANES - TOTAL >= 32 && 4 * TOTAL >= 3 * MSP_LANES;
};

// Which butterfly a lane's slot b holds. In a mirrored stage a lane owns butterflies i and TOTAL - i, so that the
// spectrum values k and MSP_HALF - k, which the real transform combines, meet in one lane without an exchange. Lane 0
// owns butterflies 0 and TOTAL / 2, which pair within themselves; the second only where TOTAL is even.
template <int R, bool MIRRORED>
inline int msp_butterfly(int b, int lane) {
  if (MIRRORED) {
    if (b == 0) return lane;
    return lane == 0 ? MspButterflies<R>::TOTAL / 2 : MspButterflies<R>::TOTAL - lane;
  }
  return lane + b * MSP_LANES;
}

template <int R, bool MIRRORED>
inline bool msp_butterfly_active(int b, int lane) {
  if (MspButterflies<R>::EVEN) return true;
  if (!MIRRORED) return lane + b * MSP_LANES < MspButterflies<R>::TOTAL;
  if (MspButterflies<R>::TOTAL % 2 == 1 && b == 1 && lane == 0) return false;
  return 2 * lane < MspButterflies<R>::TOTAL;
}

// The layouts. index: which element a lane's value q is; place: where that stands in exchange memory (SPREAD); active:
// whether there is one.

// Values that enter a stage of radix R: x[i + j * TOTAL] for butterfly i.
template <int R, bool MIRRORED>
struct MspStageInput {
  static constexpr constant int COUNT = R * MspButterflies<R>::COUNT;
  static int index(int q, int lane) {
    return msp_butterfly<R, MIRRORED>(q / R, lane) + q % R * MspButterflies<R>::TOTAL;
  }
  template <class SPREAD>
  static MspPlace place(int q, int lane) {
    return SPREAD::template place<MspButterflies<R>::TOTAL % SPREAD::BLOCK == 0>(
        msp_butterfly<R, MIRRORED>(q / R, lane), q % R * MspButterflies<R>::TOTAL);
  }
  static bool active(int q, int lane) {
    return msp_butterfly_active<R, MIRRORED>(q / R, lane);
  }
};

// Values that leave a stage of radix R behind stages whose radices multiply to P.
template <int R, int P, bool MIRRORED>
struct MspStageOutput {
  static constexpr constant int COUNT = R * MspButterflies<R>::COUNT;
  static int base(int q, int lane) {
    const uint i = uint(msp_butterfly<R, MIRRORED>(q / R, lane));  // unsigned, for it is divided
    return int(i / P * (P * R) + i % P);
  }
  static int index(int q, int lane) {
    return base(q, lane) + q % R * P;
  }
  template <class SPREAD>
  static MspPlace place(int q, int lane) {  // spare elements lie between the blocks of P * R
    const MspPlace place = {SPREAD::at(base(q, lane)), q % R * P};
    return place;
  }
  static bool active(int q, int lane) {
    return MspStageInput<R, MIRRORED>::active(q, lane);
  }
};

// Pairs (k, MSP_HALF - k) of the packed spectrum, value 2t and 2t + 1 of pair t. Pair 0 of lane 0 is (0, MSP_HALF / 2):
// bin 0 and the middle bin are their own partners.
#define MSP_PAIRS_TOTAL ((MSP_HALF + 1) / 2)
#if MSP_MIRRORED
#define MSP_PAIRS MSP_LAST_RADIX  // of a lane
#define MSP_PAIR_STRIDE (MSP_HALF / MSP_LAST_RADIX)
#else
#define MSP_PAIRS ((MSP_PAIRS_TOTAL + MSP_LANES - 1) / MSP_LANES)
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
  MspPairBins bins = {lane, lane};
#if MSP_MIRRORED
  if (lane == 0 && MSP_PAIR_STRIDE % 2 == 0) bins.second = MSP_PAIR_STRIDE / 2;  // the butterfly in the middle
#endif
  return bins;
}

inline int msp_pair_bin(int t, int lane) {
  const MspPairBins bins = msp_pair_bins(lane);
  return bins.at(t);
}

inline bool msp_pair_active(int t, int lane) {
#if MSP_MIRRORED
  return msp_butterfly_active<MSP_LAST_RADIX, true>(2 * t / MSP_PAIRS, lane);
#else
  return MSP_PAIRS_TOTAL % MSP_LANES == 0 || msp_pair_bin(t, lane) < MSP_PAIRS_TOTAL;
#endif
}

struct MspPairs {
  static constexpr constant int COUNT = 2 * MSP_PAIRS;
  static int index(int q, int lane) {
    const int k = msp_pair_bin(q / 2, lane);
    if (q % 2 == 0) return k;
    return k == 0 ? MSP_HALF / 2 : MSP_HALF - k;
  }
  template <class SPREAD>
  static MspPlace place(int q, int lane) {  // exchanged densely
#if MSP_MIRRORED
    const MspPlace place = {index(q, lane), 0};
#else
    const int offset = q / 2 * MSP_LANES;
    MspPlace place = {lane, offset};
    if (q % 2 == 1) {
      place.base = q == 1 && lane == 0 ? MSP_HALF / 2 : MSP_HALF - lane;
      place.offset = -offset;
    }
#endif
    return place;
  }
  static bool active(int q, int lane) {
    if (MSP_HALF % 2 == 1 && q == 1 && lane == 0) return false;  // no middle bin: bin 0 is alone
    return msp_pair_active(q / 2, lane);
  }
};

// Moves a frame's values from the layout WRITER to the layout READER through threadgroup memory.
template <class WRITER, class READER, class SPREAD>
MSP_INLINE void msp_exchange(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
#if MSP_SPLIT
  float2 moved[MSP_VALUES];
  MSP_UNROLL
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) *msp_at(shared, WRITER::template place<SPREAD>(q, lane)) = v[q].x;
  }
  MSP_SYNC();
  MSP_UNROLL
  for (int q = 0; q < READER::COUNT; ++q) {
    moved[q].x = READER::active(q, lane) ? *msp_at(shared, READER::template place<SPREAD>(q, lane)) : 0.0f;
  }
  MSP_SYNC();
  MSP_UNROLL
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) *msp_at(shared, WRITER::template place<SPREAD>(q, lane)) = v[q].y;
  }
  MSP_SYNC();
  MSP_UNROLL
  for (int q = 0; q < READER::COUNT; ++q) {
    moved[q].y = READER::active(q, lane) ? *msp_at(shared, READER::template place<SPREAD>(q, lane)) : 0.0f;
  }
  MSP_UNROLL
  for (int q = 0; q < READER::COUNT; ++q) v[q] = moved[q];
#else
  MSP_UNROLL
  for (int q = 0; q < WRITER::COUNT; ++q) {
    if (WRITER::active(q, lane)) *msp_at(shared, WRITER::template place<SPREAD>(q, lane)) = v[q];
  }
  MSP_SYNC();
  MSP_UNROLL
  for (int q = 0; q < READER::COUNT; ++q) {
    v[q] = READER::active(q, lane) ? *msp_at(shared, READER::template place<SPREAD>(q, lane)) : float2(0.0f, 0.0f);
  }
#endif
  MSP_SYNC();
}

// Twiddles w^j, j < R, of column i % P: rows w^1, w^2, w^4, w^8 come from a table made in float64, the others are one
// product away (relative L2 1.2e-7 against 1.1e-7 with a full table, at a quarter of the loads).
template <int R, int P>
MSP_INLINE void msp_twiddle(thread float2* v, const device float2* table, int column) {
  float2 w[R > 8 ? R : 9];
  MSP_UNROLL
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

// Rows of the twiddle table that a stage of radix R uses.
#define MSP_ROWS(R) ((R) > 8 ? 4 : (R) > 4 ? 3 : (R) > 2 ? 2 : 1)

// Stage S, in the order they run: P is the product of the radices before it, TABLE where its twiddles start. Only the
// last stage of a forward transform, from which pairs are taken, can be mirrored.
template <int S>
struct MspStage {
  static constexpr constant int RADIX =
      S == 1 ? MSP_RADIX_1 : S == 2 ? MSP_RADIX_2 : S == 3 ? MSP_RADIX_3 : S == 4 ? MSP_RADIX_4 : MSP_RADIX_5;
  static constexpr constant int P = MspStage<S - 1>::P * MspStage<S - 1>::RADIX;
  static constexpr constant int TABLE = MspStage<S - 1>::TABLE_END;
  static constexpr constant int TABLE_END = TABLE + MSP_ROWS(RADIX) * P;
  static constexpr constant bool MIRRORED = MSP_MIRRORED && S == MSP_STAGES - 1;
  typedef MspStageInput<RADIX, MIRRORED> Input;
  typedef MspStageOutput<RADIX, P, MIRRORED> Output;
  typedef MspSpread<S == 1 ? MSP_EVERY_1 : S == 2 ? MSP_EVERY_2 : S == 3 ? MSP_EVERY_3 : MSP_EVERY_4,
                    S == 1 ? MSP_SPARE_1 : S == 2 ? MSP_SPARE_2 : S == 3 ? MSP_SPARE_3 : MSP_SPARE_4> Spread;  // behind it
};

template <>
struct MspStage<0> {
  static constexpr constant int RADIX = MSP_RADIX_0;
  static constexpr constant int P = 1;
  static constexpr constant int TABLE = 0;  // it needs none
  static constexpr constant int TABLE_END = 0;
  static constexpr constant bool MIRRORED = MSP_MIRRORED && MSP_STAGES == 1;
  typedef MspStageInput<MSP_RADIX_0, MIRRORED> Input;
  typedef MspStageOutput<MSP_RADIX_0, 1, MIRRORED> Output;
  typedef MspSpread<MSP_EVERY_0, MSP_SPARE_0> Spread;
};

typedef MspStage<0>::Input MspFirst;
typedef MspStage<MSP_STAGES - 1>::Output MspLast;
#define MSP_LAST_P (MSP_HALF / MSP_LAST_RADIX)

// The butterflies of one stage, in registers. Idle lanes beside busy ones compute what nobody reads; simdgroups of them
// only do nothing. TRANSPOSED: the twiddles come behind the butterflies.
template <int S, bool TRANSPOSED>
MSP_INLINE void msp_stage(thread float2* v, const device float2* table, int lane) {
  constexpr int R = MspStage<S>::RADIX, P = MspStage<S>::P;
  constexpr bool MIRRORED = MspStage<S>::MIRRORED;
  MSP_UNROLL
  for (int b = 0; b < MspButterflies<R>::COUNT; ++b) {
    if (MspButterflies<R>::RESTING && !MspStageInput<R, MIRRORED>::active(b * R, lane)) continue;
    const int column = int(uint(msp_butterfly<R, MIRRORED>(b, lane)) % P);
    if (P > 1 && !TRANSPOSED) msp_twiddle<R, P>(v + b * R, table + MspStage<S>::TABLE, column);
    msp_radix<R>(v + b * R);
    if (P > 1 && TRANSPOSED) msp_twiddle<R, P>(v + b * R, table + MspStage<S>::TABLE, column);
  }
}

// The stages from S on, and what lies between them and the one before.
template <int S>
struct MspStages {
  static MSP_INLINE void forth(
      thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
    msp_exchange<typename MspStage<S - 1>::Output, typename MspStage<S>::Input, typename MspStage<S - 1>::Spread>(
        v, shared, lane);
    msp_stage<S, false>(v, table, lane);
    MspStages<S + 1>::forth(v, shared, table, lane);
  }
  static MSP_INLINE void back(
      thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
    MspStages<S + 1>::back(v, shared, table, lane);
    msp_stage<S, true>(v, table, lane);
    msp_exchange<typename MspStage<S>::Input, typename MspStage<S - 1>::Output, typename MspStage<S - 1>::Spread>(
        v, shared, lane);
  }
};

template <>
struct MspStages<MSP_STAGES> {
  static MSP_INLINE void forth(thread float2*, threadgroup MSP_EXCHANGE_TYPE*, const device float2*, int) {}
  static MSP_INLINE void back(thread float2*, threadgroup MSP_EXCHANGE_TYPE*, const device float2*, int) {}
};

// From the layout MspFirst to the layout MspLast.
MSP_INLINE void msp_fft(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
  msp_stage<0, false>(v, table, lane);
  MspStages<1>::forth(v, shared, table, lane);
}

// The same transform with everything transposed: from the layout MspLast to the layout MspFirst. So it starts where
// msp_fft ends, without an exchange between them.
MSP_INLINE void msp_fft_transposed(
    thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, const device float2* table, int lane) {
  MspStages<1>::back(v, shared, table, lane);
  msp_stage<0, true>(v, table, lane);
}

// The spectrum in a lane's registers after msp_fft, as pairs, and pairs as what msp_fft starts from.
#if MSP_MIRRORED
inline float2 msp_choose(bool condition, float2 a, float2 b) {
  return float2(condition ? a.x : b.x, condition ? a.y : b.y);
}

MSP_INLINE void msp_to_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE*, int lane) {
  const int R = MSP_LAST_RADIX;
  const bool zero = lane == 0;
  float2 p[MSP_VALUES];
  MSP_UNROLL
  for (int t = 0; t < R; ++t) {
    // Lane 0: its two butterflies pair within themselves.
    const int a = t < R / 2 || MSP_PAIR_STRIDE % 2 == 1 ? t : R + t;
    const int b = t == 0 ? R / 2 : t < R / 2 ? R - t : 2 * R - 1 - t;
    p[2 * t] = a == t ? v[a] : msp_choose(zero, v[a], v[t]);
    p[2 * t + 1] = b == 2 * R - 1 - t ? v[b] : msp_choose(zero, v[b], v[2 * R - 1 - t]);
  }
  MSP_UNROLL
  for (int q = 0; q < 2 * R; ++q) v[q] = p[q];
}
#else
MSP_INLINE void msp_to_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
  msp_exchange<MspLast, MspPairs, MspDense>(v, shared, lane);
}
#endif

MSP_INLINE void msp_from_pairs(thread float2* v, threadgroup MSP_EXCHANGE_TYPE* shared, int lane) {
  msp_exchange<MspPairs, MspFirst, MspDense>(v, shared, lane);
}
