// The body of the kernels that overlap frames in memory: kernels/istft.metal, which reads spectra, and those that make
// spectra again (MSP_RECOMPUTE): kernels/features_gradient.metal and kernels/stft_loss_gradient.metal.

// MSP_SKIPPED: samples at either end of a frame that are zero. Here, a frame consists of those between them; `params` are
// those of such frames. An even number, not 0 in GATHER only.
#ifndef MSP_SKIPPED
#define MSP_SKIPPED 0
#endif

// MSP_ADDS: whether the output is added to what is there, not 0.
#ifndef MSP_ADDS
#define MSP_ADDS 0
#endif

  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];
#if MSP_OVERLAP == MSP_GATHER
  threadgroup float2 ring[MSP_HALF];
#elif MSP_OVERLAP == MSP_RING
  threadgroup float ring[MSP_N_FFT];
#endif

  const MspEnvelope envelope = {params.envelope_head, params.envelope_tail, params.envelope_end,
                                params.hop_length};

  const int slot = int(thread_index / MSP_LANES);
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* slot_memory = exchange + slot * MSP_EXCHANGE_SIZE;

  const int row_index = int(group) / params.groups;
  int run = int(group) - row_index * params.groups;
#if MSP_ADJOINT
  const int edge_index = run;
  const bool is_edge = run < params.edges;
  run -= params.edges;
#endif
  const int run_begin = params.runs_begin / params.hop_length + run * params.run_hops;
  const int run_end = run_begin + params.run_hops;
  const device float2* row = input + row_index * params.row_stride;
  device float* samples = output + row_index * params.length;
  // The part of the untrimmed signal that this run writes.
  const int keep_begin = max(run_begin * params.hop_length, params.runs_begin);
  const int keep_end = min(run_end * params.hop_length, params.runs_end);

  int first_frame = max(run_begin - params.halo, 0);
  int last_frame = run_end - 1;
#if MSP_ADJOINT
  MspEdge edge;
  edge.samples = params.length;
  edge.skipped = MSP_SKIPPED;
  edge.pad = params.first;
  edge.pad_mode = params.pad_mode;
  edge.hop_length = params.hop_length;
  // Everywhere, so that what is the same in all threadgroups needs no register. (H200: 0.286 against 0.280 ms.)
  if (is_edge || !MSP_NVIDIA) edge.start(params.edges, edge_index, params.frames);
  if (is_edge) {
    if (MSP_ADDS == 0) edge.clear(samples, int(thread_index));
    first_frame = edge.first_frame;
    last_frame = edge.last_frame;
  }
#endif

  const int reach = params.halo + 1;  // hops that a frame covers, the last perhaps in part
  int base = 0;                // where the current step begins in the ring: a block (GATHER) or a sample (RING)

  float2 v[MSP_VALUES + MSP_RECOMPUTE];
  float2 middle;
#if MSP_RECOMPUTE
  // A frame is transformed when its turn comes.
#define MSP_LOAD_AHEAD(BINS, LANE)
  MSP_SOURCE();
#else
  // A step's spectrum is loaded while the step before it is added up.
#define MSP_LOAD_AHEAD(BINS, LANE) msp_load_pairs(v, &middle, BINS, params.bin_stride, LANE)
#endif
  MSP_LOAD_AHEAD(row + min(first_frame + slot, params.frames - 1) * params.frame_stride, lane_index);

  for (int step_frame = first_frame; step_frame <= last_frame;) {
    const int lane = MSP_ANEW(lane_index, step_frame), last_lane = MSP_ANEW(lane_index, step_frame + 1);
    threadgroup MSP_EXCHANGE_TYPE* shared = slot_memory + MSP_ANEW(0, step_frame);
    const bool live = step_frame + slot < params.frames;
    int next_frame = step_frame + MSP_FRAMES;
#if MSP_ADJOINT
    if (is_edge) next_frame = edge.next(step_frame);
#endif
    const device float2* next_bins = row + min(next_frame + slot, params.frames - 1) * params.frame_stride;

#if MSP_RECOMPUTE
    source.load(v, &middle, shared, min(step_frame + slot, params.frames - 1),
                MSP_ANEW(lane_index, step_frame + 3));
#endif
    msp_pack_pairs(v, middle, pair_twiddles, lane);
    msp_from_pairs(v, shared, lane);
    msp_fft(v, shared, twiddles, lane);
    // The window is read for every frame: held in registers, it costs a quarter of the resident threads.
    msp_weigh_frame(v, window, params.win_left, params.win_length, params.paired_window != 0, scale, live,
                    last_lane);

    const int step_begin = step_frame * params.hop_length;  // position of this step's first sample
#if MSP_ADJOINT
    if (is_edge) {
      edge.add(v, (threadgroup float*)exchange, (threadgroup float*)shared, samples, step_begin, last_lane,
               int(thread_index));
      MSP_LOAD_AHEAD(next_bins, MSP_ANEW(lane_index, step_frame + 2));
      step_frame = next_frame;
      continue;
    }
#endif
#if MSP_OVERLAP == MSP_GATHER
    threadgroup float2* frame_pairs = (threadgroup float2*)shared;
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) {
      if (MspLast::active(q, last_lane)) frame_pairs[MspLast::index(q, last_lane)] = v[q];
    }
    MSP_LOAD_AHEAD(next_bins, MSP_ANEW(lane_index, step_frame + 2));
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const MspStep step = {params.hop_length, MSP_N_FFT - 2 * MSP_SKIPPED, reach, base, step_frame == first_frame, step_begin, keep_begin,
                          keep_end, params.first, MSP_ADDS != 0};
    const threadgroup float* frames = (const threadgroup float*)exchange + MSP_SKIPPED;
    if (params.hop_length % 2 == 0) {
      msp_gather<float2, 2>((const threadgroup float2*)frames, ring, samples, inverse_envelope, envelope, step,
                            int(thread_index));
    } else {
      msp_gather<float, 1>(frames, (threadgroup float*)ring, samples, inverse_envelope, envelope, step,
                           int(thread_index));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (reach > 1) base = (base + MSP_FRAMES) % (reach - 1);
#else
    // A sample belongs to one lane within a frame, and frames follow each other behind a barrier.
    const int hop_length = params.hop_length, first = params.first;  // or LLVM keeps a copy per sample in registers
    MSP_UNROLL
    for (int q = 0; q < MspLast::COUNT; ++q) {
      if (!MspLast::active(q, last_lane)) continue;
      MSP_UNROLL
      for (int half_index = 0; half_index < 2; ++half_index) {
        const int d = 2 * MspLast::index(q, last_lane) + half_index;
        const int position = step_begin + d;
        const bool fresh = d >= MSP_N_FFT - hop_length || step_frame == first_frame;
        float sum = half_index == 0 ? v[q].x : v[q].y;
#if MSP_OVERLAP == MSP_RING
        int place = base + d;
        if (place >= MSP_N_FFT) place -= MSP_N_FFT;
        if (!fresh) sum += ring[place];
        if (d >= hop_length) ring[place] = sum;
        else if (position >= keep_begin && position < keep_end) {
          sum = sum * msp_inverse_envelope(inverse_envelope, envelope, position, d);
          samples[position - first] = MSP_ADDS == 0 ? sum : samples[position - first] + sum;
        }
#else
        if (position >= keep_begin && position < keep_end) {
          if (!fresh || MSP_ADDS != 0) sum += samples[position - first];
          samples[position - first] =
              d < hop_length ? sum * msp_inverse_envelope(inverse_envelope, envelope, position, d) : sum;
        }
#endif
      }
    }
    MSP_LOAD_AHEAD(next_bins, MSP_ANEW(lane_index, step_frame + 2));
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
