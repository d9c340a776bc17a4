// torch.istft to a real signal in one launch: inverse real FFT, window, overlap-add, envelope and trimming, in a fixed
// order of summation and without atomics. A threadgroup owns a run of consecutive output hops of one row and walks the
// frames that touch them; the frames just before its run are transformed again, so that runs do not depend on each other.
//
// MSP_OVERLAP says where unfinished samples wait:
//   GATHER  MSP_FRAMES frames at a time go to threadgroup memory, and every sample gathers its frames from there;
//   RING    one frame at a time is added to a ring of n_fft samples in threadgroup memory;
//   DEVICE  one frame at a time is added to the output row itself (n_fft too large for a ring).
//
// MSP_ADJOINT: this is the adjoint of stft, with respect to its signal. There is no envelope, and the ends of the signal
// belong to threadgroups of their own (edges.metal).

#define MSP_GATHER 0
#define MSP_RING 1
#define MSP_DEVICE 2

// What one step of GATHER knows besides its frames; lengths and positions in samples.
struct MspStep {
  int hop_length;
  int reach;       // hops that a frame covers, the last perhaps in part
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
// wait in the ring, reach - 1 blocks long. A lane keeps to its own column of every block, so the ring needs no barrier.
template <class T, int WIDTH>
inline void msp_gather(
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
    const int last = r < MSP_N_FFT - (step.reach - 1) * step.hop_length ? step.reach - 1 : step.reach - 2;
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
#pragma unroll
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
          msp_store(samples + (position - step.first), sum * weight);
        } else {
#pragma unroll
          for (int i = 0; i < WIDTH; ++i) {
            if (position + i >= step.keep_begin && position + i < step.keep_end) {
              samples[position + i - step.first] =
                  msp_part(sum, i) * msp_inverse_envelope(inverse_envelope, envelope, position + i, r + i);
            }
          }
        }
      }
      if (++block >= step.reach - 1) block = 0;
    }
  }
}
#endif

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_istft(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant int* params [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];
#if MSP_OVERLAP == MSP_GATHER
  threadgroup float2 ring[MSP_HALF];
#elif MSP_OVERLAP == MSP_RING
  threadgroup float ring[MSP_N_FFT];
#endif

  const int row_stride = params[0];
  const int bin_stride = params[1];
  const int frame_stride = params[2];
  const int frames = params[3];         // per row
  const int hop_length = params[4];
  const int win_left = params[5];
  const int win_length = params[6];
  const int first = params[7];          // position of the first output sample in the untrimmed signal
  const int length = params[8];         // output samples per row
  const int groups = params[9];         // per row
  const int run_hops = params[10];      // hops of output that a run owns
  const int halo = params[11];          // earlier frames that reach into a run
  const int runs_begin = params[12];    // the positions that the runs of a row write
  const int runs_end = params[13];
  const bool paired_window = params[14] != 0;
  MspEnvelope envelope;
  envelope.head = params[15];
  envelope.tail = params[16];
  envelope.end = params[17];
  envelope.hop_length = hop_length;

  const int slot = int(thread_index / MSP_LANES);
  const uint lane = thread_index % MSP_LANES;
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  const int row_index = int(group) / groups;
  int run = int(group) - row_index * groups;
#if MSP_ADJOINT
  const int edges = params[19];  // per row: the first threadgroups, because they take longer than a run
  const int edge_index = run;
  const bool is_edge = run < edges;
  run -= edges;
#endif
  const int run_begin = runs_begin / hop_length + run * run_hops;
  const int run_end = run_begin + run_hops;
  const device float2* row = input + row_index * row_stride;
  device float* samples = output + row_index * length;
  // The part of the untrimmed signal that this run writes.
  const int keep_begin = max(run_begin * hop_length, runs_begin);
  const int keep_end = min(run_end * hop_length, runs_end);

  int first_frame = max(run_begin - halo, 0);
  int last_frame = run_end - 1;
#if MSP_ADJOINT
  MspEdge edge;
  edge.samples = length;
  edge.pad = first;
  edge.pad_mode = params[18];
  edge.hop_length = hop_length;
  if (is_edge) {
    edge.start(edges, edge_index, frames);
    edge.clear(samples, int(thread_index));
    first_frame = edge.first_frame;
    last_frame = edge.last_frame;
  }
#endif

  const int reach = halo + 1;  // hops that a frame covers, the last perhaps in part
  int base = 0;                // where the current step begins in the ring: a block (GATHER) or a sample (RING)

  // A step's spectrum is loaded while the step before it is added up.
  float2 v[MSP_VALUES];
  float2 middle;
  msp_load_pairs(v, &middle, row + min(first_frame + slot, frames - 1) * frame_stride, bin_stride, lane);

  for (int step_frame = first_frame; step_frame <= last_frame;) {
    const bool live = step_frame + slot < frames;
    int next_frame = step_frame + MSP_FRAMES;
#if MSP_ADJOINT
    if (is_edge) next_frame = edge.next(step_frame);
#endif
    const device float2* next_bins = row + min(next_frame + slot, frames - 1) * frame_stride;

    msp_pack_pairs(v, middle, pair_twiddles, lane);
    msp_from_pairs(v, shared, lane);
    msp_fft(v, shared, twiddles, lane);
#pragma unroll
    for (int q = 0; q < MspLast::COUNT; ++q) {
      // Loaded for every frame: held in registers, the window costs a quarter of the resident threads.
      const float2 weight = MspLast::active(q, lane)
          ? msp_window_pair(window, MspLast::index(q, lane), win_left, win_length, paired_window) : float2(0.0f, 0.0f);
      v[q] = live ? float2(v[q].y, v[q].x) * (weight * scale) : float2(0.0f, 0.0f);
    }

    const int step_begin = step_frame * hop_length;  // position of this step's first sample
#if MSP_ADJOINT
    if (is_edge) {
      edge.add(v, (threadgroup float*)exchange, (threadgroup float*)shared, samples, step_begin, lane,
               int(thread_index));
      msp_load_pairs(v, &middle, next_bins, bin_stride, lane);
      step_frame = next_frame;
      continue;
    }
#endif
#if MSP_OVERLAP == MSP_GATHER
    threadgroup float2* frame_pairs = (threadgroup float2*)shared;
#pragma unroll
    for (int q = 0; q < MspLast::COUNT; ++q) {
      if (MspLast::active(q, lane)) frame_pairs[MspLast::index(q, lane)] = v[q];
    }
    msp_load_pairs(v, &middle, next_bins, bin_stride, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    MspStep step;
    step.hop_length = hop_length;
    step.reach = reach;
    step.ring_block = base;
    step.fresh = step_frame == first_frame;
    step.begin = step_begin;
    step.keep_begin = keep_begin;
    step.keep_end = keep_end;
    step.first = first;
    if (hop_length % 2 == 0) {
      msp_gather<float2, 2>((const threadgroup float2*)exchange, ring, samples, inverse_envelope, envelope, step,
                            int(thread_index));
    } else {
      msp_gather<float, 1>((const threadgroup float*)exchange, (threadgroup float*)ring, samples, inverse_envelope,
                           envelope, step, int(thread_index));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (reach > 1) base = (base + MSP_FRAMES) % (reach - 1);
#else
    // A sample belongs to one lane within a frame, and frames follow each other behind a barrier.
#pragma unroll
    for (int q = 0; q < MspLast::COUNT; ++q) {
      if (!MspLast::active(q, lane)) continue;
#pragma unroll
      for (int half_index = 0; half_index < 2; ++half_index) {
        const int d = 2 * int(MspLast::index(q, lane)) + half_index;
        const int position = step_begin + d;
        const bool fresh = d >= MSP_N_FFT - hop_length || step_frame == first_frame;
        float sum = half_index == 0 ? v[q].x : v[q].y;
#if MSP_OVERLAP == MSP_RING
        int place = base + d;
        if (place >= MSP_N_FFT) place -= MSP_N_FFT;
        if (!fresh) sum += ring[place];
        if (d >= hop_length) ring[place] = sum;
        else if (position >= keep_begin && position < keep_end) {
          samples[position - first] = sum * msp_inverse_envelope(inverse_envelope, envelope, position, d);
        }
#else
        if (position >= keep_begin && position < keep_end) {
          if (!fresh) sum += samples[position - first];
          samples[position - first] =
              d < hop_length ? sum * msp_inverse_envelope(inverse_envelope, envelope, position, d) : sum;
        }
#endif
      }
    }
    msp_load_pairs(v, &middle, next_bins, bin_stride, lane);
#if MSP_OVERLAP == MSP_RING
    threadgroup_barrier(mem_flags::mem_threadgroup);
#else
    threadgroup_barrier(mem_flags::mem_device);
#endif
    base += hop_length;
    if (base >= MSP_N_FFT) base -= MSP_N_FFT;
#endif
    step_frame = next_frame;
  }

#if MSP_ADJOINT
  if (is_edge) edge.finish((threadgroup float*)exchange, samples, int(thread_index));
#endif
}
