// torch.stft of everything that kernels/stft.metal does not do: n_fft that are odd, prime, or with prime factors above
// 7, complex signals, complex windows. One launch; each frame has a slot of its own.
//
// As the adjoint of istft its samples are gradients, divided by the envelope as istft divides.

#include "frames/any.metal"
#include "frames/unpack.metal"

// What becomes of bin k of a frame.
struct MspBins {
  int n_fft;
  int stored;          // bins in memory, n_fft or half of it and one
  bool mirrored;       // those above half are the conjugates of those below (a real frame)
  bool zero_above;     // or zero
  bool real_at_ends;   // bin 0, and half of an even n_fft, have no imaginary part
  float scale;
  float inner_weight;  // of the other bins

  void store(device float2* bins, int k, float2 value) const {
    const bool end = k == 0 || 2 * k == n_fft;
    value = value * (end ? scale : scale * inner_weight);
    if (end && real_at_ends) value.y = 0.0f;
    if (zero_above && 2 * k > n_fft) value = float2(0.0f, 0.0f);
    if (k < stored) bins[k] = value;
    if (mirrored && !end && n_fft - k < stored) {
      bins[n_fft - k] = zero_above ? float2(0.0f, 0.0f) : float2(value.x, -value.y);
    }
  }
};

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_any_stft(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device MSP_WINDOW* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],  // e^{-2 pi i k / n_fft}, k < points, of a packed frame
    const device float2* chirp [[buffer(4)]],
    const device float2* chirp_spectrum [[buffer(5)]],
    const device MSP_WINDOW* inverse_envelope [[buffer(6)]],  // of an adjoint
    device float2* output [[buffer(7)]],
    constant MspAnyStftParams& given [[buffer(8)]],
    constant float& scale [[buffer(9)]],
    constant float& inner_weight [[buffer(10)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const MspAnyStftParams params = given;  // read once: it takes fewer registers
  threadgroup float2 memory[(MSP_FRAMES * MSP_SLOT_SIZE * (MSP_SPLIT ? 1 : 2)) / 2];

  const uint frames = uint(params.frames);
  const uint total_frames = uint(params.total_frames);
  const MspWeights weights = {
      window, inverse_envelope, params.win_left, params.win_length, params.adjoint != 0,
      {params.envelope_head, params.envelope_tail, params.envelope_end, params.hop_length}};
  const MspTransform transform = {params.n_fft, params.points, params.bins};
  const MspBins store = {params.n_fft, params.stored, MSP_REAL, params.zero_above != 0, params.real_at_ends != 0,
                         scale, inner_weight};

  const uint slot = thread_index / MSP_LANES;
  const int lane = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = (threadgroup MSP_EXCHANGE_TYPE*)memory + slot * MSP_SLOT_SIZE;

  const uint wanted = group * MSP_FRAMES + slot;
  const bool live = wanted < total_frames;
  const uint frame = live ? wanted : total_frames - 1;  // idle lanes repeat the last frame and store nothing
  const uint row_index = frame / frames;
  const int position = int(frame - row_index * frames) * params.hop_length;  // of the frame in the padded signal
  const int start = position - params.pad;
  const device MSP_SAMPLE* row = input + int(row_index) * params.row_stride;

  float2 v[MSP_VALUES];
  msp_load_points(v, row, weights, transform, start, position, params.samples, params.pad_mode, lane);

  msp_transform<MSP_POINTS_MAX, MSP_BINS_MAX>(
      v, shared, twiddles, chirp, chirp_spectrum, transform.points, transform.bins, lane);

  device float2* bins = output + frame * uint(store.stored);
  if (!MSP_PACKED) {
    MSP_UNROLL
    for (int q = 0; q < MspResult::COUNT; ++q) {
      const int k = MspResult::index(q, lane);
      if (live && msp_is_among<MspResult, MSP_BINS_MAX>(q, lane, transform.bins)) store.store(bins, k, v[q]);
    }
  }
  // Real spectrum of a packed frame: bins k and points - k come from the packed ones of the same numbers.
  threadgroup float2* packed = (threadgroup float2*)shared;
  if (MSP_PACKED) {
    MSP_UNROLL
    for (int q = 0; q < MspResult::COUNT; ++q) {
      if (msp_is_among<MspResult, MSP_POINTS_MAX>(q, lane, transform.points)) packed[MspResult::index(q, lane)] = v[q];
    }
  }
  MSP_SYNC();
  if (MSP_PACKED && live) {
    for (int k = int(lane); 2 * k <= transform.points; k += MSP_LANES) {
      const float2 a = packed[k];
      if (k == 0) {
        store.store(bins, 0, float2(a.x + a.y, 0.0f));
        store.store(bins, transform.points, float2(a.x - a.y, 0.0f));
      } else {
        const float2 b = packed[transform.points - k];
        const MspBinPair pair = msp_unpack(a, b, pair_twiddles[k], 0.5f);
        store.store(bins, k, pair.low);
        if (2 * k != transform.points) store.store(bins, transform.points - k, pair.high);
      }
    }
  }
}
