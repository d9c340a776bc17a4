// The adjoint of padding, at the ends of a row: what the padding made of a sample is added to it again.

#include "fft/stockham.metal"
#include "frames/padding.metal"

// The sum over all positions of the padded signal that stand for sample t, but those of REPLICATE, of what lies there.
// HELD: at(position).
template <class HELD>
MSP_INLINE float msp_unpadded(HELD held, int t, int samples, int pad, int pad_mode) {
  float sum = held.at(t + pad);
  if (pad_mode == MSP_PAD_REFLECT) {
    if (t > 0 && t <= pad) sum += held.at(pad - t);
    if (t < samples - 1 && t >= samples - 1 - pad) sum += held.at(pad + 2 * (samples - 1) - t);
  } else if (pad_mode == MSP_PAD_CIRCULAR) {
    if (t >= samples - pad) sum += held.at(t - (samples - pad));
    if (t < pad) sum += held.at(t + samples + pad);
  }
  return sum;
}

#if MSP_ADJOINT
#define MSP_SLOT_FLOATS (MSP_EXCHANGE_SIZE * (MSP_SPLIT ? 1 : 2))
#define MSP_THREADS (MSP_LANES * MSP_FRAMES)

// The frames of one step, every second sample of each.
struct MspHeldFrames {
  const threadgroup float* slots;
  int begin;  // position of the first frame
  int odd;    // 0 or 1: which samples
  int hop_length;
  int skipped;  // as MSP_SKIPPED in overlap/walk.metal

  float at(int s) const {
    float sum = 0.0f;
    for (int g = 0; g < MSP_FRAMES; ++g) {
      const int d = s - begin - g * hop_length;
      if (d >= 0 && d < MSP_N_FFT - 2 * skipped && d % 2 == odd) sum += slots[g * MSP_SLOT_FLOATS + (d + skipped) / 2];
    }
    return sum;
  }
};

// Samples that the padding concerns belong to threadgroups of their own: one for either end of a row, or one for all of
// a short row. They walk the frames that reach those samples in order, MSP_FRAMES at a time, and keep the sums in the
// output.
struct MspEdge {
  int samples;  // of the row
  int pad;
  int pad_mode;
  int hop_length;
  int skipped;
  int begin;  // the samples owned; a lane keeps to its own of them
  int end;
  int first_frame;
  int last_frame;
  int skip_from;  // frames from here on,
  int skip_to;    // up to this one, touch neither end
  float2 outside;  // what REPLICATE adds to the first and the last sample

  // edges: of this row, 1 or 2; index: 0 or 1.
  void start(int edges, int index, int frames) {
    begin = index == 0 ? 0 : samples - 1 - pad;
    end = edges == 2 && index == 0 ? pad + 1 : samples;
    first_frame = 0;
    last_frame = frames - 1;
    skip_from = 2 * pad / hop_length + 1;
    const int covered = MSP_N_FFT - 2 * skipped;
    const int second = samples <= covered ? 0 : (samples - 1 - covered) / hop_length + 1;
    skip_to = max(skip_from, second);
    if (edges == 2 && pad_mode != MSP_PAD_CIRCULAR) {  // one end does not concern the other
      if (index == 0) last_frame = min(skip_from, frames) - 1;
      else first_frame = second;
    }
    outside = float2(0.0f, 0.0f);
  }

  void clear(device float* output, int thread_index) const {
    for (int t = begin + thread_index; t < end; t += MSP_THREADS) output[t] = 0.0f;
  }

  int next(int frame) const {
    frame += MSP_FRAMES;
    return frame >= skip_from && frame < skip_to ? skip_to : frame;
  }

  // Adds the frames of one step, which begins at position `step`; v: a lane's windowed samples, in the layout MspLast.
  // slots: the threadgroup's exchange memory; values: this slot's.
  MSP_INLINE void add(
      const thread float2* v, threadgroup float* slots, threadgroup float* values, device float* output, int step,
      int lane, int thread_index) {
    for (int odd = 0; odd < 2; ++odd) {
      MSP_UNROLL
      for (int q = 0; q < MspLast::COUNT; ++q) {
        if (MspLast::active(q, lane)) values[MspLast::index(q, lane)] = odd == 0 ? v[q].x : v[q].y;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
      const MspHeldFrames held = {slots, step, odd, hop_length, skipped};
      for (int t = begin + thread_index; t < end; t += MSP_THREADS) {
        output[t] += msp_unpadded(held, t, samples, pad, pad_mode);
      }
      if (pad_mode == MSP_PAD_REPLICATE) {
        for (int i = thread_index; i < pad; i += MSP_THREADS) {
          outside.x += held.at(i);
          outside.y += held.at(pad + samples + i);
        }
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }

  // REPLICATE's sums, thread by thread, in order.
  void finish(threadgroup float* sums, device float* output, int thread_index) const {
    for (int side = 0; side < (pad_mode == MSP_PAD_REPLICATE ? 2 : 0); ++side) {
      sums[thread_index] = side == 0 ? outside.x : outside.y;
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
      if (thread_index == 0) {
        float sum = 0.0f;
        for (int i = 0; i < MSP_THREADS; ++i) sum += sums[i];
        const int t = side == 0 ? 0 : samples - 1;
        if (t >= begin && t < end) output[t] += sum;
      }
      threadgroup_barrier(mem_flags::mem_threadgroup);
    }
  }
};
#endif
