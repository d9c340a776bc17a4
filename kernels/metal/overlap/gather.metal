// Where unfinished samples of istft wait between steps (MSP_OVERLAP), and how those in GATHER are added up.

#include "fft/stockham.metal"
#include "overlap/envelope.metal"

#define MSP_GATHER 0
#define MSP_RING 1
#define MSP_DEVICE 2

// What one step of GATHER knows besides its frames; lengths and positions in samples.
struct MspStep {
  int hop_length;
  int covered;     // samples of a frame
  int reach;       // hops that they cover, the last perhaps in part
  int ring_block;  // where the step begins in the ring, in blocks of one hop
  bool fresh;      // nothing waits in the ring yet
  int begin;       // position of the step's first sample
  int keep_begin;  // the positions that this run writes
  int keep_end;
  int first;       // the position of output sample 0
};

inline void msp_store(device float* to, float value) {
  to[0] = value;
}

inline void msp_store(device float* to, float2 value) {
  to[0] = value.x;
  to[1] = value.y;
}

inline float msp_take(const device float* table, float) {
  return table[0];
}

inline float2 msp_take(const device float* table, float2) {
  return float2(table[0], table[1]);
}

inline float msp_part(float value, int) {
  return value;
}

inline float msp_part(float2 value, int i) {
  return i == 0 ? value.x : value.y;
}

inline float msp_inverse_envelope(const device float* table, MspEnvelope envelope, int s, int phase) {
#if MSP_ADJOINT
  return 1.0f;
#else
  return envelope.at(table, s, phase);
#endif
}

#if MSP_OVERLAP == MSP_GATHER
// Adds the frames of one step up, T (float or float2, WIDTH samples) at a time. The samples come in blocks of one hop:
// block j gathers from the frames g with 0 <= j - g < reach, in order. Blocks below MSP_FRAMES are finished; the others
// wait in the ring, reach - 1 blocks long. A lane keeps to its own columns of every block, so the ring needs no barrier.
// It does MSP_COLUMNS of them at a time, whose sums do not wait for each other.
#define MSP_COLUMNS 2
template <class T, int WIDTH>
inline void msp_gather(
    const threadgroup T* slots, threadgroup T* ring, device float* samples, const device float* inverse_envelope,
    MspEnvelope envelope, MspStep step, int thread_index) {
  const int threads = MSP_LANES * MSP_FRAMES;
  const int hop = step.hop_length / WIDTH;
  const int stride = 2 * MSP_EXCHANGE_SIZE / WIDTH - hop;  // from frame g to g + 1 within a block
  const int blocks = step.reach + MSP_FRAMES - 1;
  const int end = step.begin + MSP_FRAMES * step.hop_length;
  const int whole = step.covered - (step.reach - 1) * step.hop_length;  // samples of a frame's last hop
  // Almost every step: all its finished samples are wanted, and share one period of the envelope.
  const bool steady = step.begin >= envelope.head && end <= envelope.tail
      && step.begin >= step.keep_begin && end <= step.keep_end;
  for (int base = thread_index; base < hop; base += MSP_COLUMNS * threads) {
    int columns[MSP_COLUMNS], last[MSP_COLUMNS];
    T weight[MSP_COLUMNS];
#pragma unroll
    for (int c = 0; c < MSP_COLUMNS; ++c) {
      // One that is not there: the first is added up again, and not stored.
      columns[c] = base + c * threads < hop ? base + c * threads : base;
      const int r = columns[c] * WIDTH;
      last[c] = r < whole ? step.reach - 1 : step.reach - 2;
      weight[c] = T(1.0f);
#if !MSP_ADJOINT
      if (steady) weight[c] = msp_take(inverse_envelope + envelope.head + r, T(0.0f));
#endif
    }
    int block = step.ring_block;
    for (int j = 0; j < blocks; ++j) {
      T sums[MSP_COLUMNS];
#pragma unroll
      for (int c = 0; c < MSP_COLUMNS; ++c) {
        sums[c] = j < step.reach - 1 && !step.fresh ? ring[block * hop + columns[c]] : T(0.0f);
      }
#if MSP_FRAMES <= 4
      const int from = 0, to = MSP_FRAMES;
#pragma unroll
#else
      const int from = max(0, j - step.reach + 1), to = min(j + 1, MSP_FRAMES);
#endif
      for (int g = from; g < to; ++g) {
#pragma unroll
        for (int c = 0; c < MSP_COLUMNS; ++c) {
          if (g >= j - last[c] && g <= j) sums[c] = sums[c] + slots[j * hop + columns[c] + g * stride];
        }
      }
#pragma unroll
      for (int c = 0; c < MSP_COLUMNS; ++c) {
        if (base + c * threads >= hop) continue;
        const int r = columns[c] * WIDTH, position = step.begin + j * step.hop_length + r;
        if (j >= MSP_FRAMES) {
          ring[block * hop + columns[c]] = sums[c];
        } else if (steady) {
          msp_store(samples + (position - step.first), sums[c] * weight[c]);
        } else {
#pragma unroll
          for (int i = 0; i < WIDTH; ++i) {
            if (position + i >= step.keep_begin && position + i < step.keep_end) {
              samples[position + i - step.first] =
                  msp_part(sums[c], i) * msp_inverse_envelope(inverse_envelope, envelope, position + i, r + i);
            }
          }
        }
      }
      if (++block >= step.reach - 1) block = 0;
    }
  }
}
#endif
