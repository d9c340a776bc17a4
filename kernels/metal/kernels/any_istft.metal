// torch.istft, and the adjoint of torch.stft, of everything that kernels/istft.metal does not do. A slot owns a run of
// consecutive output hops of one row. It adds the frames that reach them, in order, to the output row itself; the
// frames just before its run are transformed again, so that runs do not depend on each other.
//
// The adjoint of stft has no envelope, and what the padding made of a sample is added to it again
// (overlap/padding_adjoint.metal). The samples that the padding concerns belong to slots of their own: one for either
// end of a row, or one for all of a short row. These slots walk the frames that reach those samples, in order. Their
// threadgroups follow those of the runs.
//
// MSP_COMPLEX_OUTPUT: samples are float2. Otherwise they are the real parts of the frames.

#include "fft/bluestein.metal"
#include "frames/padding.metal"
#include "overlap/envelope.metal"
#include "overlap/padding_adjoint.metal"

#if MSP_COMPLEX_OUTPUT
#define MSP_OUTPUT float2
#else
#define MSP_OUTPUT float
#endif

// How bins of a frame are read.
struct MspSpectrum {
  int n_fft;
  int loaded;          // those from here on count as zero
  int bin_stride;
  bool real_at_ends;   // imaginary parts of bin 0, and half of an even n_fft, do not count
  bool both_sides;     // bins of a real frame take their mirror images in: gradients of a two-sided spectrum
  float inner_weight;  // of the other bins

  bool is_end(int k) const { return k == 0 || 2 * k == n_fft; }

  float2 at(const device float2* bins, int k) const {
    if (k >= loaded) return float2(0.0f, 0.0f);
    const device float* parts = (const device float*)(bins + k * bin_stride);
    const float2 value = float2(parts[0], parts[1]);
    if (is_end(k)) return real_at_ends ? float2(value.x, 0.0f) : value;
    if (both_sides) {
      const device float* mirrored = (const device float*)(bins + (n_fft - k) * bin_stride);
      return float2(value.x + mirrored[0], value.y - mirrored[1]) * inner_weight;
    }
    return value * inner_weight;
  }
};

// Half of a frame in threadgroup memory: part 0 or 1, its even and odd samples if it is packed, else its real and
// imaginary parts.
struct MspHeldFrame {
  const threadgroup float* values;
  int begin;  // position of the frame
  int part;
  int n_fft;

  float at(int s) const {
    const int d = s - begin;
    if (d < 0 || d >= n_fft) return 0.0f;
    if (MSP_PACKED) return d % 2 == part ? values[d / 2] : 0.0f;
    return values[d];
  }
};

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_any_istft(
    const device float2* input [[buffer(0)]],
    const device MSP_WINDOW* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float2* chirp [[buffer(4)]],
    const device float2* chirp_spectrum [[buffer(5)]],
    const device MSP_WINDOW* inverse_envelope [[buffer(6)]],
    device MSP_OUTPUT* output [[buffer(7)]],
    constant MspAnyIstftParams& given [[buffer(8)]],
    constant float& scale [[buffer(9)]],
    constant float& inner_weight [[buffer(10)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const MspAnyIstftParams params = given;  // read once: it takes fewer registers
  threadgroup float2 memory[(MSP_FRAMES * MSP_SLOT_SIZE * (MSP_SPLIT ? 1 : 2)) / 2];

  const MspTransform transform = {params.n_fft, params.points, params.bins};
  const MspSpectrum spectrum = {params.n_fft, params.loaded, params.bin_stride, params.real_at_ends != 0,
                                params.both_sides != 0, inner_weight};
  const MspEnvelope envelope = {params.envelope_head, params.envelope_tail, params.envelope_end,
                                params.hop_length};
  const bool adjoint = params.adjoint != 0;

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)memory + slot * MSP_SLOT_SIZE;

  const bool is_edge = int(group) >= params.run_groups;
  const int group_index = is_edge ? int(group) - params.run_groups : int(group);
  const int index = group_index * MSP_FRAMES + slot;
  // Idle slots walk along and write nothing.
  const int per_row = is_edge ? params.edges : params.runs;
  const bool owner = index < params.rows * per_row;
  const int row_index = owner ? index / per_row : 0;
  const int place = owner ? index - row_index * per_row : 0;
  const int run_begin = params.runs_begin / params.hop_length + place * params.run_hops;
  const device float2* row = input + row_index * params.row_stride;
  device MSP_OUTPUT* samples = output + row_index * params.length;
  // The part of the untrimmed signal that this run writes.
  const int keep_begin = max(run_begin * params.hop_length, params.runs_begin);
  const int keep_end = owner ? min((run_begin + params.run_hops) * params.hop_length, params.runs_end) : keep_begin;

  // The samples that an edge owns.
  const int own_begin = place == 0 ? 0 : params.length - 1 - params.first;
  const int own_end = !owner ? own_begin : params.edges == 2 && place == 0 ? params.first + 1 : params.length;
  const int edge_origin = place == 0 || params.pad_mode == MSP_PAD_CIRCULAR ? 0 : params.edge_jump;
  float4 outside = float4(0.0f, 0.0f, 0.0f, 0.0f);  // REPLICATE: what the paddings hold, two parts each

  const int steps = is_edge ? params.edge_steps : params.run_hops + params.halo;
  for (int step = 0; step < steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    int frame = run_begin - params.halo + step;
    if (is_edge) frame = step < params.edge_split ? edge_origin + step : params.edge_jump + step - params.edge_split;
    const bool live = frame >= 0 && frame < params.frames;
    const device float2* bins = row + (live ? frame : 0) * params.frame_stride;

    float2 v[MSP_VALUES];  // real and imaginary parts swapped for the inverse
    MSP_UNROLL
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int k = MspFirst::index(q, lane);
      v[q] = float2(0.0f, 0.0f);
      if (!live || !msp_is_among<MspFirst, MSP_BINS_MAX>(q, lane, transform.bins)) continue;
      if (MSP_PACKED) {
        const float2 a = spectrum.at(bins, k), b = spectrum.at(bins, transform.points - k);
        const float2 odd = msp_multiply_conjugate(float2(a.x - b.x, a.y + b.y), pair_twiddles[k]);
        v[q] = msp_swapped(float2(a.x + b.x - odd.y, a.y - b.y + odd.x));
      } else {
        v[q] = msp_swapped(spectrum.at(bins, k));
      }
    }
    msp_transform<MSP_BINS_MAX, MSP_POINTS_MAX>(
        v, shared, twiddles, chirp, chirp_spectrum, transform.bins, transform.points, lane);

    // Samples under the window: two of a packed frame, else one, complex.
    MSP_UNROLL
    for (int q = 0; q < MspResult::COUNT; ++q) {
      const int m = MspResult::index(q, lane);
      const float2 value = live ? msp_swapped(v[q]) * scale : float2(0.0f, 0.0f);
      if (!msp_is_among<MspResult, MSP_POINTS_MAX>(q, lane, transform.points)) continue;
      if (MSP_PACKED) {
        v[q] = float2(value.x * msp_window_at(window, 2 * m, params.win_left, params.win_length, adjoint).x,
                      value.y * msp_window_at(window, 2 * m + 1, params.win_left, params.win_length, adjoint).x);
      } else {
        v[q] = msp_multiply(value, msp_window_at(window, m, params.win_left, params.win_length, adjoint));
      }
    }

    const int begin = frame * params.hop_length;
    if (is_edge) {
      threadgroup float* values = (threadgroup float*)shared;
      const int parts = MSP_PACKED || MSP_COMPLEX_OUTPUT ? 2 : 1;
      for (int part = 0; part < parts; ++part) {
        MSP_SYNC();
        MSP_UNROLL
        for (int q = 0; q < MspResult::COUNT; ++q) {
          const int m = MspResult::index(q, lane);
          if (!msp_is_among<MspResult, MSP_POINTS_MAX>(q, lane, transform.points)) continue;
          values[m] = part == 0 ? v[q].x : v[q].y;
        }
        MSP_SYNC();
        const MspHeldFrame held = {values, begin, part, transform.n_fft};
        for (int t = own_begin + int(lane); t < own_end; t += MSP_LANES) {
          const float sum = msp_unpadded(held, t, params.length, params.first, params.pad_mode);
#if MSP_COMPLEX_OUTPUT
          device float* sample = (device float*)(samples + t) + part;
          sample[0] = step == 0 ? sum : sample[0] + sum;
#else
          samples[t] = step == 0 && part == 0 ? sum : samples[t] + sum;
#endif
        }
        if (params.pad_mode == MSP_PAD_REPLICATE) {
          float left = 0.0f, right = 0.0f;
          for (int i = int(lane); i < params.first; i += MSP_LANES) {
            left += held.at(i);
            right += held.at(params.first + params.length + i);
          }
          if (part == 0 || !MSP_COMPLEX_OUTPUT) {
            outside.x += left;
            outside.y += right;
          } else {
            outside.z += left;
            outside.w += right;
          }
        }
      }
    }
    MSP_UNROLL
    for (int q = 0; q < MspResult::COUNT; ++q) {
      const int m = MspResult::index(q, lane);
      if (is_edge || !msp_is_among<MspResult, MSP_POINTS_MAX>(q, lane, transform.points)) continue;
      for (int i = 0; i < (MSP_PACKED ? 2 : 1); ++i) {
        const int d = MSP_PACKED ? 2 * m + i : m;
        const int position = begin + d;
        if (position < keep_begin || position >= keep_end) continue;
        const float2 product = i == 0 ? v[q] : float2(v[q].y, 0.0f);
        const bool fresh = step == 0 || d >= transform.n_fft - params.hop_length;
        const bool finished = !adjoint && d < params.hop_length;
        const int entry = envelope.entry(position, d);
        device MSP_OUTPUT* sample = samples + (position - params.first);
#if MSP_COMPLEX_OUTPUT
        float2 sum = fresh ? product : sample[0] + product;
#if MSP_COMPLEX_WINDOW
        if (finished) sum = position < envelope.end ? msp_multiply(sum, inverse_envelope[entry]) : float2(0.0f, 0.0f);
#else
        if (finished) sum = position < envelope.end ? sum * inverse_envelope[entry] : float2(0.0f, 0.0f);
#endif
        sample[0] = sum;
#else
        float sum = fresh ? product.x : sample[0] + product.x;
#if !MSP_COMPLEX_WINDOW
        if (finished) sum = position < envelope.end ? sum * inverse_envelope[entry] : 0.0f;
#endif
        sample[0] = sum;
#endif
      }
    }
    threadgroup_barrier(mem_flags::mem_device);
  }

  if (is_edge && params.pad_mode == MSP_PAD_REPLICATE) {
    threadgroup float* sums = (threadgroup float*)shared;
    for (int i = 0; i < (MSP_COMPLEX_OUTPUT ? 4 : 2); ++i) {  // left and right, real and imaginary
      threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
      sums[lane_index] = i == 0 ? outside.x : i == 1 ? outside.y : i == 2 ? outside.z : outside.w;
      threadgroup_barrier(mem_flags::mem_threadgroup);
      const int t = i % 2 == 0 ? 0 : params.length - 1;
      if (lane_index == 0 && t >= own_begin && t < own_end) {
        float sum = 0.0f;
        for (int j = 0; j < MSP_LANES; ++j) sum += sums[j];
        device float* sample = (device float*)(samples + t) + i / 2;
        sample[0] += sum;
      }
    }
  }
}
