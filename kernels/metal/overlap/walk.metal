// The body of the kernels that overlap frames in memory, kernels/istft.metal and kernels/features_gradient.metal, which
// differ in their arguments only.

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
  const int lane = int(thread_index % MSP_LANES);
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

  float2 v[MSP_VALUES + MSP_FEATURES];
  float2 middle;
#if MSP_FEATURES
  // A frame is transformed when its turn comes.
#define MSP_LOAD_AHEAD(BINS)
  MspFeatureSource source;
  source.row = signal + row_index * feature_params[0];
  source.window = window;
  source.twiddles = twiddles;
  source.pair_twiddles = pair_twiddles;
  source.gradient = gradient + row_index * feature_params[1];
  source.gradient_feature = feature_params[2];
  source.gradient_frame = feature_params[3];
  source.gradient_frames = feature_params[4];
  source.samples = length;
  source.pad = first;
  source.pad_mode = params[18];
  source.hop_length = hop_length;
  source.win_left = win_left;
  source.win_length = win_length;
  source.paired_loads = feature_params[5] != 0;
  source.paired_window = paired_window;
  source.features = msp_feature_arguments(MSP_BINS, feature_params + 6, reals);
  source.bands = msp_bands(band_layout, band_weights, bin_first, bin_shares);
#else
  // A step's spectrum is loaded while the step before it is added up.
#define MSP_LOAD_AHEAD(BINS) msp_load_pairs(v, &middle, BINS, bin_stride, lane)
#endif
  MSP_LOAD_AHEAD(row + min(first_frame + slot, frames - 1) * frame_stride);

  for (int step_frame = first_frame; step_frame <= last_frame;) {
    const bool live = step_frame + slot < frames;
    int next_frame = step_frame + MSP_FRAMES;
#if MSP_ADJOINT
    if (is_edge) next_frame = edge.next(step_frame);
#endif
    const device float2* next_bins = row + min(next_frame + slot, frames - 1) * frame_stride;

#if MSP_FEATURES
    source.load(v, &middle, shared, min(step_frame + slot, frames - 1), lane);
#endif
    msp_pack_pairs(v, middle, pair_twiddles, lane);
    msp_from_pairs(v, shared, lane);
    msp_fft(v, shared, twiddles, lane);
    // The window is read for every frame: held in registers, it costs a quarter of the resident threads.
    msp_weigh_frame(v, window, win_left, win_length, paired_window, scale, live, lane);

    const int step_begin = step_frame * hop_length;  // position of this step's first sample
#if MSP_ADJOINT
    if (is_edge) {
      edge.add(v, (threadgroup float*)exchange, (threadgroup float*)shared, samples, step_begin, lane,
               int(thread_index));
      MSP_LOAD_AHEAD(next_bins);
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
    MSP_LOAD_AHEAD(next_bins);
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
        const int d = 2 * MspLast::index(q, lane) + half_index;
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
    MSP_LOAD_AHEAD(next_bins);
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
