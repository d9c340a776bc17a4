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
  bool adds;       // to what the output holds
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
// wait in the ring, reach - 1 blocks long. A lane keeps to its own column of every block, so the ring needs no barrier.
template <class T, int WIDTH>
MSP_INLINE void msp_gather(
    const threadgroup T* slots, threadgroup T* ring, device float* samples, const device float* inverse_envelope,
    MspEnvelope envelope, MspStep step, int thread_index) {
  const int hop = step.hop_length / WIDTH;
  const int stride = 2 * MSP_EXCHANGE_SIZE / WIDTH - hop;  // from frame g to g + 1 within a block
  const int blocks = step.reach + MSP_FRAMES - 1;
  const int end = step.begin + MSP_FRAMES * step.hop_length;
  // Almost every step: all its finished samples are wanted, and share one period of the envelope.
  const bool steady = step.begin >= envelope.head && end <= envelope.tail
      && step.begin >= step.keep_begin && end <= step.keep_end;
  for (int column = thread_index; column < hop; column += MSP_LANES * MSP_FRAMES) {
    const int r = column * WIDTH;
    const int last = r < step.covered - (step.reach - 1) * step.hop_length ? step.reach - 1 : step.reach - 2;
    T weight = T(1.0f);
#if !MSP_ADJOINT
    if (steady) weight = msp_take(inverse_envelope + envelope.head + r, T(0.0f));
#endif
    int block = step.ring_block;
    for (int j = 0; j < blocks; ++j) {
      T sum = j < step.reach - 1 && !step.fresh ? ring[block * hop + column] : T(0.0f);
      const int g_first = max(0, j - last);
      const int g_last = min(j, MSP_FRAMES - 1);
      const int place = j * hop + column;
#if MSP_FRAMES <= 4
      MSP_UNROLL
      for (int g = 0; g < MSP_FRAMES; ++g) {
        if (g >= g_first && g <= g_last) sum = sum + slots[place + g * stride];
      }
#else
      for (int g = g_first; g <= g_last; ++g) sum = sum + slots[place + g * stride];
#endif
      if (j >= MSP_FRAMES) {
        ring[block * hop + column] = sum;
      } else {
        const int position = step.begin + j * step.hop_length + r;
        if (steady) {
          device float* place = samples + (position - step.first);
          msp_store(place, step.adds ? msp_take(place, T(0.0f)) + sum * weight : sum * weight);
        } else {
          MSP_UNROLL
          for (int i = 0; i < WIDTH; ++i) {
            if (position + i >= step.keep_begin && position + i < step.keep_end) {
              float part = msp_part(sum, i) * msp_inverse_envelope(inverse_envelope, envelope, position + i, r + i);
              if (step.adds) part += samples[position + i - step.first];
              samples[position + i - step.first] = part;
            }
          }
        }
      }
      if (++block >= step.reach - 1) block = 0;
    }
  }
}
#endif
