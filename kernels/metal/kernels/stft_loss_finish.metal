// From the sums of kernels/stft_loss.metal to the loss, in one threadgroup: all threads add up all sums or, `per_row`, a
// simdgroup one row after another.
//
// In numpy, for sums[row], the four terms of losses/terms.metal summed over the row:
//
//   convergence = sqrt(sums[:, 0].sum() / sums[:, 1].sum())      # `per_row`: mean(sqrt(sums[:, 0] / sums[:, 1]))
//   log, linear = sums[:, 2].sum() / count, sums[:, 3].sum() / count
//   loss = weights.convergence * convergence + weights.log * log + weights.linear * linear
//
// What is stored is (loss + that of the losses before, `adds`) / weights.losses: the mean, of the last of several.
// A term of weight 0 is 0. `terms`: convergence, log, linear; then, for the gradient, what (y - x)**2 of every bin is
// worth to convergence: of each row, or once for all.

#include "losses/terms.metal"

#define MSP_FINISH_THREADS 512

inline float msp_worth(float difference, float target) {
  return difference == 0.0f ? 0.0f : 0.5f / (metal::sqrt(difference) * metal::sqrt(target));
}

[[max_total_threads_per_threadgroup(MSP_FINISH_THREADS)]]
kernel void msp_stft_loss_finish(
    const device float* sums [[buffer(0)]],
    device float* loss [[buffer(1)]],
    device float* terms [[buffer(2)]],
    constant MspStftLossFinishParams& params [[buffer(3)]],
    constant MspStftLossWeights& weights [[buffer(4)]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_FINISH_THREADS / 32 * 5];

  const int team = int(thread_index) / 32, lane = int(thread_index) % 32;
  float4 total = float4(0.0f, 0.0f, 0.0f, 0.0f);
  float quotients = 0.0f;
  if (params.per_row != 0) {
    for (int row = team; row < params.rows; row += MSP_FINISH_THREADS / 32) {
      float4 sum = float4(0.0f, 0.0f, 0.0f, 0.0f);
      for (int i = lane; i < params.groups; i += 32) sum = sum + msp_take_sums(sums + (row * params.groups + i) * 4);
      sum = msp_sum_over_lanes(sum);
      total = total + sum;
      quotients += metal::sqrt(sum.x) / metal::sqrt(sum.y);
      if (lane == 0) terms[3 + row] = msp_worth(sum.x, sum.y) / float(params.rows);
    }
  } else {
    const int count = params.rows * params.groups;
    for (int i = int(thread_index); i < count; i += MSP_FINISH_THREADS) total = total + msp_take_sums(sums + 4 * i);
    total = msp_sum_over_lanes(total);
  }
  if (lane == 0) {
    msp_store_sums(found + 5 * team, total);
    found[5 * team + 4] = quotients;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (thread_index == 0) {
    total = float4(0.0f, 0.0f, 0.0f, 0.0f);
    quotients = 0.0f;
    for (int i = 0; i < MSP_FINISH_THREADS / 32; ++i) {
      total = total + msp_take_sums(found + 5 * i);
      quotients += found[5 * i + 4];
    }
    if (params.per_row == 0) terms[3] = msp_worth(total.x, total.y);
    float sum = 0.0f;
    terms[0] = 0.0f;
    if (weights.convergence != 0.0f) {
      terms[0] = params.per_row != 0 ? quotients / float(params.rows) : metal::sqrt(total.x) / metal::sqrt(total.y);
      sum += weights.convergence * terms[0];
    }
    terms[1] = total.z / weights.count;  // zero where nobody wants it
    sum += weights.log * terms[1];
    terms[2] = total.w / weights.count;
    sum += weights.linear * terms[2];
    if (params.adds != 0) sum = loss[0] + sum;
    loss[0] = sum / weights.losses;
  }
}
