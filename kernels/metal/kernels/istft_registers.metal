// torch.istft to a real signal, as kernels/istft.metal, for hops that fit the last stage of the transform. That stage
// leaves samples 2 (i + t P) and 2 (i + t P) + 1 in a lane's value t of butterfly i (P is MSP_LAST_P). A hop of
// 2 SHIFT P samples turns value t into value t - SHIFT of the same lane, so unfinished samples stay in registers.
//
// A threadgroup owns a run of consecutive output hops of one row. Each of its slots takes an equal share of the frames
// that reach those hops. A slot's first hops lack the frames of the slot before: they wait in threadgroup memory until
// that slot has finished. Only the frames just before a run are transformed twice.
//
// What one slot does, in numpy (hop = 2 SHIFT P; REACH hops lie under one frame):
//
//   sums = zeros(n_fft)                               # spread over the registers of the slot's lanes
//   for step, frame in enumerate(own_frames):
//       sums += window * irfft(X[frame])
//       finished = sums[:hop]                         # no later frame reaches this hop
//       sums = concatenate([sums[hop:], zeros(hop)])  # each register takes the value of another one
//       if slot > 0 and step < REACH - 1:
//           waiting[slot - 1, step] = finished
//       else:
//           y[frame * hop : (frame + 1) * hop] = finished / envelope[frame * hop : (frame + 1) * hop]
//   barrier()
//   for step in range(REACH - 1):                     # the hops of the next slot that wait for this one
//       at = (own_frames[-1] + 1 + step) * hop
//       y[at : at + hop] = (sums[step * hop : (step + 1) * hop] + waiting[slot, step]) / envelope[at : at + hop]
//
// MSP_ADJOINT: as in kernels/istft.metal.

#include "fft/stockham.metal"
#include "frames/bins.metal"
#include "overlap/envelope.metal"
#include "overlap/padding_adjoint.metal"

#define MSP_REACH ((MSP_LAST_RADIX + MSP_SHIFT - 1) / MSP_SHIFT)   // hops that a frame covers, the last perhaps in part
#define MSP_WAITING ((MSP_REACH - 1) * MSP_SHIFT * MSP_LAST_P)     // pairs of samples in the hops that wait, per slot

// Where finished samples go.
struct MspOutput {
  device float* samples;
  const device float* inverse_envelope;
  MspEnvelope envelope;
  int first;       // position of the first output sample in the untrimmed signal
  int keep_begin;  // the positions that this run writes
  int keep_end;
  bool paired;     // even positions lie at 8-byte boundaries of the output

  // Whether a whole hop at this position can be stored without looking at each sample.
  bool steady(int begin, int end) const {
    return begin >= keep_begin && end <= keep_end && begin >= envelope.head && end <= envelope.tail;
  }

  float inverse(int position, int phase) const {
#if MSP_ADJOINT
    return 1.0f;
#else
    return envelope.at(inverse_envelope, position, phase);
#endif
  }

  // Two finished sums at `position`, `phase` samples into their hop.
  void store(int position, int phase, float2 sum, bool is_steady) const {
    device float* to = samples + (position - first);
    if (is_steady) {
#if !MSP_ADJOINT
      const device float* period = inverse_envelope + envelope.head + phase;
      sum = sum * float2(period[0], period[1]);
#endif
      if (paired) {
        *(device float2*)to = sum;
      } else {
        to[0] = sum.x;
        to[1] = sum.y;
      }
    } else {
      if (position >= keep_begin && position < keep_end) to[0] = sum.x * inverse(position, phase);
      if (position + 1 >= keep_begin && position + 1 < keep_end) to[1] = sum.y * inverse(position + 1, phase + 1);
    }
  }
};

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_istft_registers(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant MspIstftParams* given [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const MspIstftParams params = *given;  // read once: it takes fewer registers
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];
#if MSP_FRAMES > 1 && MSP_REACH > 1
  threadgroup float2 waiting[(MSP_FRAMES - 1) * MSP_WAITING];
#endif

  const int frames = params.frames;
  const MspEnvelope envelope = {params.envelope_head, params.envelope_tail, params.envelope_end,
                                params.hop_length};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  const int row_index = int(group) / params.groups;
  int run = int(group) - row_index * params.groups;
#if MSP_ADJOINT
  const int edge_index = run;
  const bool is_edge = run < params.edges;
  run -= params.edges;
#else
  const bool is_edge = false;
#endif
  const int run_begin = params.runs_begin / params.hop_length + run * params.run_hops;
  const device float2* row = input + row_index * params.row_stride;

  const MspOutput place = {
      output + row_index * params.length, inverse_envelope, envelope, params.first,
      max(run_begin * params.hop_length, params.runs_begin),
      min((run_begin + params.run_hops) * params.hop_length, params.runs_end), params.paired_output != 0};

  int frame = run_begin - (MSP_REACH - 1) + slot * params.share;
  int left = params.share;  // frames to do
#if MSP_ADJOINT
  int edge_frame = 0;  // slot 0's: the same for all threads, as whether there is another has to be
  MspEdge edge;
  edge.samples = params.length;
  edge.skipped = 0;
  edge.pad = params.first;
  edge.pad_mode = params.pad_mode;
  edge.hop_length = params.hop_length;
  // Everywhere, so that what is the same in all threadgroups needs no register. (H200: 0.286 against 0.280 ms.)
  if (is_edge || !MSP_NVIDIA) edge.start(params.edges, edge_index, frames);
  if (is_edge) {
    edge.clear(place.samples, int(thread_index));
    edge_frame = edge.first_frame;
    frame = edge_frame + slot;
    left = edge_frame <= edge.last_frame ? 1 : 0;
  }
#endif

  float2 sums[MspLast::COUNT];
  MSP_UNROLL
  for (int q = 0; q < MspLast::COUNT; ++q) sums[q] = float2(0.0f, 0.0f);

  // A frame's spectrum is loaded while the sums of the one before it are stored.
  float2 v[MSP_VALUES];
  float2 middle;
  msp_load_pairs(v, &middle, row + clamp(frame, 0, frames - 1) * params.frame_stride, params.bin_stride,
                 lane_index);

  for (int step = 0; left > 0; ++step) {
    const int lane = MSP_ANEW(lane_index, step), last_lane = MSP_ANEW(lane_index, step + 1);
    const bool live = frame >= 0 && frame < frames;
    int next_frame = frame + 1;
    --left;
#if MSP_ADJOINT
    if (is_edge) {
      edge_frame = edge.next(edge_frame);
      next_frame = edge_frame + slot;
      left = edge_frame <= edge.last_frame ? 1 : 0;
    }
#endif
    const device float2* next_bins = row + clamp(next_frame, 0, frames - 1) * params.frame_stride;

    msp_pack_pairs(v, middle, pair_twiddles, lane);
    msp_from_pairs(v, shared, lane);
    msp_fft(v, shared, twiddles, lane);
    msp_weigh_frame(v, window, params.win_left, params.win_length, params.paired_window != 0, scale, live,
                    last_lane);
#if MSP_ADJOINT
    if (is_edge) {
      edge.add(v, (threadgroup float*)exchange, (threadgroup float*)shared, place.samples,
               (frame - slot) * params.hop_length, last_lane, int(thread_index));
    }
#endif
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) sums[q] = sums[q] + v[q];
    msp_load_pairs(v, &middle, next_bins, params.bin_stride, MSP_ANEW(lane_index, step + 2));

    // The hop that begins here gets no more frames.
    if (!is_edge) {
      const int position = frame * params.hop_length;
      const bool steady = place.steady(position, position + params.hop_length);
      MSP_UNROLL
      for (int q = 0; q < MspLast::COUNT; ++q) {
        if (q % MSP_LAST_RADIX >= MSP_SHIFT || !MspLast::active(q, last_lane)) continue;
        const int pair = MspLast::index(q, last_lane);
#if MSP_FRAMES > 1 && MSP_REACH > 1
        if (slot > 0 && step < MSP_REACH - 1) {
          waiting[(slot - 1) * MSP_WAITING + step * MSP_SHIFT * MSP_LAST_P + pair] = sums[q];
        } else {
          place.store(position + 2 * pair, 2 * pair, sums[q], steady);
        }
#else
        place.store(position + 2 * pair, 2 * pair, sums[q], steady);
#endif
      }
    }
    if (!is_edge || !MSP_NVIDIA) {  // where nobody reads them as well: the last are zeros always, and need no register
      MSP_UNROLL
      for (int q = 0; q < MspLast::COUNT; ++q) {
        sums[q] = q % MSP_LAST_RADIX + MSP_SHIFT < MSP_LAST_RADIX ? sums[(q + MSP_SHIFT) % MspLast::COUNT]
                                                                  : float2(0.0f, 0.0f);
      }
    }
    frame = next_frame;
  }

#if MSP_ADJOINT
  if (is_edge) edge.finish((threadgroup float*)exchange, place.samples, int(thread_index));
#endif
#if MSP_FRAMES > 1 && MSP_REACH > 1
  // What is left of a slot's frames completes the hops that wait for it.
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (!is_edge && slot < MSP_FRAMES - 1) {
    MSP_UNROLL
    for (int b = 0; b < MspButterflies<MSP_LAST_RADIX>::COUNT; ++b) {
      MSP_UNROLL
      for (int t = 0; t < (MSP_REACH - 1) * MSP_SHIFT; ++t) {
        const int q = b * MSP_LAST_RADIX + t % MSP_LAST_RADIX;
        if (!MspLast::active(b * MSP_LAST_RADIX, lane_index)) continue;
        const int pair = MspLast::index(b * MSP_LAST_RADIX, lane_index) + t * MSP_LAST_P;
        const int hop = t / MSP_SHIFT;
        const int position = (frame + hop) * params.hop_length;
        float2 sum = waiting[slot * MSP_WAITING + pair];
        if (t < MSP_LAST_RADIX - MSP_SHIFT) sum = sums[q] + sum;
        const int phase = 2 * (pair - hop * MSP_SHIFT * MSP_LAST_P);
        place.store(position + phase, phase, sum, place.steady(position, position + params.hop_length));
      }
    }
  }
#endif
}
