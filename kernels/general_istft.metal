// torch.istft, and the adjoint of torch.stft, of everything that istft.metal does not do. A slot owns a run of
// consecutive output hops of one row and adds the frames that touch them, in order, to the output row itself; the frames
// just before its run are transformed again, so that runs do not depend on each other.
//
// MSP_COMPLEX_OUTPUT: samples are float2. Otherwise they are the real parts of the frames.

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
  bool both_sides;     // a packed frame's bins take their mirror images in: gradients of a two-sided spectrum
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

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_general_istft(
    const device float2* input [[buffer(0)]],
    const device MSP_WINDOW* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float2* chirp [[buffer(4)]],
    const device float2* chirp_spectrum [[buffer(5)]],
    const device MSP_WINDOW* inverse_envelope [[buffer(6)]],
    device MSP_OUTPUT* output [[buffer(7)]],
    constant int* params [[buffer(8)]],
    constant float& scale [[buffer(9)]],
    constant float& inner_weight [[buffer(10)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float2 memory[(MSP_FRAMES * MSP_SLOT_SIZE * (MSP_SPLIT ? 1 : 2)) / 2];

  const int row_stride = params[0];
  const int frame_stride = params[2];
  const int frames = params[3];      // per row
  const int hop_length = params[4];
  const int win_left = params[5];
  const int win_length = params[6];
  const int first = params[7];       // position of the first output sample in the untrimmed signal
  const int length = params[8];      // output samples per row
  const int runs = params[9];        // per row
  const int total_runs = params[10];
  const int run_hops = params[11];   // hops of output that a run owns
  const int halo = params[12];       // earlier frames that reach into a run
  MspTransform transform;
  transform.n_fft = params[13];
  transform.points = params[14];
  transform.packed = params[15] != 0;
  MspSpectrum spectrum;
  spectrum.n_fft = params[13];
  spectrum.loaded = params[16];
  spectrum.bin_stride = params[1];
  spectrum.real_at_ends = params[17] != 0;
  spectrum.both_sides = params[18] != 0;
  spectrum.inner_weight = inner_weight;
  const bool normalised = params[19] != 0;  // by the envelope
  MspEnvelope envelope;
  envelope.head = params[20];
  envelope.tail = params[21];
  envelope.end = params[22];
  envelope.hop_length = hop_length;

  const int slot = int(thread_index / MSP_LANES);
  const uint lane = thread_index % MSP_LANES;
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)memory + slot * MSP_SLOT_SIZE;

  const int index = int(group) * MSP_FRAMES + slot;
  const bool owner = index < total_runs;  // idle slots walk along and write nothing
  const int run = owner ? index : 0;
  const int row_index = run / runs;
  const int run_begin = first / hop_length + (run - row_index * runs) * run_hops;
  const device float2* row = input + row_index * row_stride;
  device MSP_OUTPUT* samples = output + row_index * length;
  // The part of the untrimmed signal that this run writes.
  const int keep_begin = max(run_begin * hop_length, first);
  const int keep_end = owner ? min((run_begin + run_hops) * hop_length, first + length) : keep_begin;

  for (int step = 0; step < run_hops + halo; ++step) {
    const int frame = run_begin - halo + step;
    const bool live = frame >= 0 && frame < frames;
    const device float2* bins = row + (live ? frame : 0) * frame_stride;

    float2 v[MSP_VALUES];  // real and imaginary parts swapped for the inverse
#pragma unroll
    for (int q = 0; q < MspFirst::COUNT; ++q) {
      const int k = int(MspFirst::index(q, lane));
      v[q] = float2(0.0f, 0.0f);
      if (!live || !MspFirst::active(q, lane) || k >= transform.points) continue;
      if (transform.packed) {
        const float2 a = spectrum.at(bins, k), b = spectrum.at(bins, transform.points - k);
        const float2 odd = msp_multiply_conjugate(float2(a.x - b.x, a.y + b.y), pair_twiddles[k]);
        v[q] = msp_swapped(float2(a.x + b.x - odd.y, a.y - b.y + odd.x));
      } else {
        v[q] = msp_swapped(spectrum.at(bins, k));
      }
    }
    msp_transform(v, shared, twiddles, chirp, chirp_spectrum, transform.points, lane);

    const int begin = frame * hop_length;
#pragma unroll
    for (int q = 0; q < MspLast::COUNT; ++q) {
      const int m = int(MspLast::index(q, lane));
      if (!MspLast::active(q, lane) || m >= transform.points) continue;
      const float2 value = live ? msp_swapped(v[q]) * scale : float2(0.0f, 0.0f);
      for (int i = 0; i < (transform.packed ? 2 : 1); ++i) {
        const int d = transform.packed ? 2 * m + i : m;
        const int position = begin + d;
        if (position < keep_begin || position >= keep_end) continue;
        const float2 weight = msp_window_at(window, d, win_left, win_length);
        const float part = i == 0 ? value.x : value.y;
        const float2 product = transform.packed ? float2(part * weight.x, 0.0f) : msp_multiply(value, weight);
        const bool fresh = step == 0 || d >= transform.n_fft - hop_length;
        const bool finished = normalised && d < hop_length;
        const int entry = envelope.entry(position, d);
        device MSP_OUTPUT* sample = samples + (position - first);
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
}
