// torch.stft for real input in one launch: framing, padding, window, real FFT and scaling, written in torch's memory
// order (batch, frame, bin). A threadgroup keeps MSP_FRAMES frames in flight, MSP_LANES lanes each, for several steps.
//
// MSP_SAMPLE: the type of a sample (float, half, bfloat). MSP_TWO_SIDED: all n_fft bins are written, not half + 1.
// MSP_ADJOINT: this is the adjoint of istft. Samples are gradients, divided by the envelope as istft divides, the bins
// between 0 and half stand for their mirror images as well, and those above half, which istft does not read, get zero.

#include "fft/stockham.metal"
#include "frames/real.metal"
#include "frames/unpack.metal"
#include "overlap/envelope.metal"

#if MSP_ADJOINT
#define MSP_INNER_WEIGHT 2.0f
#else
#define MSP_INNER_WEIGHT 1.0f
#endif
#define MSP_OUTPUT_BINS (MSP_TWO_SIDED ? MSP_N_FFT : MSP_BINS)

inline void msp_store_bin(device float2* bins, int k, float2 value) {
  bins[k] = value;
#if MSP_TWO_SIDED && MSP_ADJOINT
  if (k > 0 && k < MSP_HALF) bins[MSP_N_FFT - k] = float2(0.0f, 0.0f);
#elif MSP_TWO_SIDED
  if (k > 0 && k < MSP_HALF) bins[MSP_N_FFT - k] = float2(value.x, -value.y);
#endif
}

// A lane's part of the envelope is the same as well, for frames within the steady part.
MSP_INLINE void msp_weigh_steadily(
    thread float2* weight, const device float* inverse_envelope, MspEnvelope envelope, int lane) {
  if (envelope.tail <= envelope.head) return;
  const device float* period = inverse_envelope + envelope.head;
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    const int d = 2 * MspFirst::index(q, lane);
    if (MspFirst::active(q, lane)) {
      weight[q] = weight[q] * float2(period[d % envelope.hop_length], period[(d + 1) % envelope.hop_length]);
    }
  }
}

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_stft(
    const device MSP_SAMPLE* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],       // the stages' tables
    const device float2* pair_twiddles [[buffer(3)]],  // e^{-2 pi i k / n_fft}, k any first bin of a pair
    const device float* inverse_envelope [[buffer(4)]],  // MSP_ADJOINT only
    device float2* output [[buffer(5)]],
    constant MspStftParams* given [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const MspStftParams params = *given;  // read once: it takes fewer registers
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];

  const uint frames = uint(params.frames);
  const uint total_frames = uint(params.total_frames);
  const uint steps = uint(params.steps);
#if MSP_ADJOINT
  const MspEnvelope envelope = {params.envelope_head, params.envelope_tail, params.envelope_end,
                                params.hop_length};
#endif

  const uint slot = thread_index / MSP_LANES;
  const int lane_index = int(thread_index % MSP_LANES);
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  const float factor = 0.5f * MSP_INNER_WEIGHT * scale;

  float2 weight[MspFirst::COUNT];  // a lane's part of the window is the same for every frame, and so is the factor
  msp_load_weights(weight, window, lane_index, params.win_left, params.win_length, params.paired_window != 0);
  MSP_UNROLL
  for (int q = 0; q < MspFirst::COUNT; ++q) weight[q] = weight[q] * factor;
#if MSP_ADJOINT
  msp_weigh_steadily(weight, inverse_envelope, envelope, lane_index);
#endif

  for (uint step = 0; step < steps; ++step) {
    const int lane = MSP_ANEW(lane_index, step);
    const MspPairBins pairs = msp_pair_bins(lane);
    const uint wanted = (group * steps + step) * MSP_FRAMES + slot;
    const bool live = wanted < total_frames;
    const uint frame = live ? wanted : total_frames - 1;  // idle lanes repeat the last frame and store nothing
    const uint row_index = frame / frames;
    const int start = int(frame - row_index * frames) * params.hop_length - params.pad;
    const device MSP_SAMPLE* row = input + int(row_index) * params.row_stride;

    bool interior = start >= 0 && start + MSP_N_FFT <= params.samples;
#if MSP_ADJOINT
    const int position = start + params.pad;  // of the frame in the untrimmed signal
    interior = interior && position >= envelope.head && position + MSP_N_FFT <= envelope.tail;
#endif

    float2 v[MSP_VALUES];
    if (interior) {
      msp_load_inside(v, row, start, params.paired_loads != 0, lane);
      msp_weigh(v, weight);
    } else {
#if MSP_ADJOINT
      MSP_UNROLL
      for (int q = 0; q < MspFirst::COUNT; ++q) {
        const int t = start + 2 * MspFirst::index(q, lane), s = t + params.pad;
        v[q] = float2(0.0f, 0.0f);
        if (MspFirst::active(q, lane)) {
          v[q] = float2(msp_padded_sample<float>(row, t, params.samples, params.pad_mode),
                        msp_padded_sample<float>(row, t + 1, params.samples, params.pad_mode));
          v[q] = v[q] * msp_window_pair(window, MspFirst::index(q, lane), params.win_left, params.win_length,
                                        params.paired_window != 0) * factor;
          v[q] = v[q] * float2(envelope.at(inverse_envelope, s, s % params.hop_length),
                               envelope.at(inverse_envelope, s + 1, (s + 1) % params.hop_length));
        }
      }
#else
      msp_load_across(v, row, start, params.samples, params.pad_mode, lane);
      msp_weigh(v, weight);
#endif
    }

    msp_fft(v, shared, twiddles, lane);
    msp_to_pairs(v, shared, lane);

    // The factor has made up for what msp_unpack() leaves out.
    device float2* bins = output + frame * uint(MSP_OUTPUT_BINS);
    if (live) {
      MSP_UNROLL
      for (int t = 0; t < MSP_PAIRS; ++t) {
        const int k = pairs.at(t);
        const float2 a = v[2 * t], b = v[2 * t + 1];
        if (t == 0 && lane == 0) {
          bins[0] = float2((a.x + a.y) * (2.0f / MSP_INNER_WEIGHT), 0.0f);
          bins[MSP_HALF] = float2((a.x - a.y) * (2.0f / MSP_INNER_WEIGHT), 0.0f);
#if MSP_HALF % 2 == 0
          msp_store_bin(bins, MSP_HALF / 2, float2(b.x, -b.y) * 2.0f);
#endif
        } else if (msp_pair_active(t, lane)) {
          const MspBinPair pair = msp_unpack(a, b, MSP_READ(pair_twiddles, k), 1.0f);
          msp_store_bin(bins, k, pair.low);
          msp_store_bin(bins, MSP_HALF - k, pair.high);
        }
      }
    }
  }
}
