// torch.stft for real input in one launch: framing, padding, window, real FFT and scaling, written in torch's memory
// order (batch, frame, bin). A threadgroup keeps MSP_FRAMES frames in flight, MSP_LANES lanes each, for several steps.

#define MSP_PAD_REFLECT 0
#define MSP_PAD_CONSTANT 1
#define MSP_PAD_REPLICATE 2
#define MSP_PAD_CIRCULAR 3

inline float msp_padded_sample(const device float* row, int t, int samples, int pad_mode) {
  if (t < 0 || t >= samples) {
    if (pad_mode == MSP_PAD_CONSTANT) return 0.0f;
    if (pad_mode == MSP_PAD_REFLECT) t = t < 0 ? -t : 2 * (samples - 1) - t;
    else if (pad_mode == MSP_PAD_REPLICATE) t = t < 0 ? 0 : samples - 1;
    else t = t < 0 ? t + samples : t - samples;
  }
  return row[t];
}

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_stft(
    const device float* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],       // the stages' tables
    const device float2* pair_twiddles [[buffer(3)]],  // e^{-2 pi i k / n_fft}, k any first bin of a pair
    device float2* output [[buffer(4)]],
    constant int* params [[buffer(5)]],
    constant float& scale [[buffer(6)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup MSP_EXCHANGE_TYPE exchange[MSP_FRAMES * MSP_EXCHANGE_SIZE];

  const int samples = params[0];
  const int row_stride = params[1];
  const uint frames = uint(params[2]);        // per row
  const uint total_frames = uint(params[3]);  // of all rows
  const int hop_length = params[4];
  const int pad = params[5];
  const int pad_mode = params[6];
  const int win_left = params[7];
  const int win_length = params[8];
  const uint steps = uint(params[9]);
  const bool paired_loads = params[10] != 0;  // every frame starts at an 8-byte boundary
  const bool paired_window = params[11] != 0;

  const uint slot = thread_index / MSP_LANES;
  const uint lane = thread_index % MSP_LANES;
  threadgroup MSP_EXCHANGE_TYPE* shared = exchange + slot * MSP_EXCHANGE_SIZE;

  float2 weight[MspFirst::COUNT];  // a lane's part of the window is the same for every frame
#pragma unroll
  for (int q = 0; q < MspFirst::COUNT; ++q) {
    weight[q] = MspFirst::active(q, lane) ? msp_window_pair(window, MspFirst::index(q, lane), win_left, win_length, paired_window)
                                          : float2(0.0f, 0.0f);
  }

  for (uint step = 0; step < steps; ++step) {
    const uint wanted = (group * steps + step) * MSP_FRAMES + slot;
    const bool live = wanted < total_frames;
    const uint frame = live ? wanted : total_frames - 1;  // idle lanes repeat the last frame and store nothing
    const uint row_index = frame / frames;
    const int start = int(frame - row_index * frames) * hop_length - pad;
    const device float* row = input + int(row_index) * row_stride;

    float2 v[MSP_VALUES];
    if (start >= 0 && start + MSP_N_FFT <= samples) {
      if (paired_loads) {
        const device float2* pairs = (const device float2*)(row + start);
#pragma unroll
        for (int q = 0; q < MspFirst::COUNT; ++q) {
          v[q] = MspFirst::active(q, lane) ? pairs[MspFirst::index(q, lane)] : float2(0.0f, 0.0f);
        }
      } else {
#pragma unroll
        for (int q = 0; q < MspFirst::COUNT; ++q) {
          const device float* pair = row + start + 2 * int(MspFirst::index(q, lane));
          v[q] = MspFirst::active(q, lane) ? float2(pair[0], pair[1]) : float2(0.0f, 0.0f);
        }
      }
    } else {
#pragma unroll
      for (int q = 0; q < MspFirst::COUNT; ++q) {
        const int t = start + 2 * int(MspFirst::index(q, lane));
        v[q] = float2(0.0f, 0.0f);
        if (MspFirst::active(q, lane)) {
          v[q] = float2(msp_padded_sample(row, t, samples, pad_mode), msp_padded_sample(row, t + 1, samples, pad_mode));
        }
      }
    }
#pragma unroll
    for (int q = 0; q < MspFirst::COUNT; ++q) v[q] = v[q] * weight[q];

    msp_fft(v, shared, twiddles, lane);
    msp_to_pairs(v, shared, lane);

    // Real spectrum: with E and O the transforms of even and odd samples, Z = E + iO, X[k] = E + w^k O and
    // X[half - k] = conj(E - w^k O).
    device float2* bins = output + frame * uint(MSP_BINS);
    if (live) {
#pragma unroll
      for (int t = 0; t < MSP_PAIRS; ++t) {
        const uint k = msp_pair_bin(t, lane);
        const float2 a = v[2 * t], b = v[2 * t + 1];
        if (t == 0 && lane == 0) {
          bins[0] = float2((a.x + a.y) * scale, 0.0f);
          bins[MSP_HALF] = float2((a.x - a.y) * scale, 0.0f);
#if MSP_HALF % 2 == 0
          bins[MSP_HALF / 2] = float2(b.x * scale, -b.y * scale);
#endif
        } else if (msp_pair_active(t, lane)) {
          const float2 even = float2(a.x + b.x, a.y - b.y) * (0.5f * scale);
          const float2 odd = float2(a.y + b.y, b.x - a.x) * (0.5f * scale);
          const float2 turned = msp_multiply(odd, pair_twiddles[k]);
          bins[k] = even + turned;
          bins[MSP_HALF - k] = float2(even.x - turned.x, turned.y - even.y);
        }
      }
    }
  }
}
