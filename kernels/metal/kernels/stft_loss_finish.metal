// From the sums of kernels/stft_loss.metal to losses and their mean, in the first threadgroup. Its simdgroups share the
// losses out; those of a loss add up all its sums or, `per_row`, each one row after another. The other threadgroups copy
// the target meanwhile.
//
// In numpy, for sums[row], the four terms of losses/terms.metal summed over the row:
//
//   convergence = sqrt(sums[:, 0].sum() / sums[:, 1].sum())      # `per_row`: mean(sqrt(sums[:, 0] / sums[:, 1]))
//   log, linear = sums[:, 2].sum() / count, sums[:, 3].sum() / count
//   loss = weights.convergence * convergence + weights.log * log + weights.linear * linear
//
// A term of weight 0 is 0. `terms`: convergence, log, linear; then, for the gradient, what (y - x)**2 of every bin is
// worth to convergence: of each row, or once for all.

#include "losses/terms.metal"
#include "registers.metal"

#define MSP_FINISH_THREADS 512
#define MSP_FINISH_TEAMS (MSP_FINISH_THREADS / 32)
#define MSP_COPIED 8  // samples of a thread

inline float msp_worth(float difference, float target) {
  return difference == 0.0f ? 0.0f : 0.5f / (metal::sqrt(difference) * metal::sqrt(target));
}

[[max_total_threads_per_threadgroup(MSP_FINISH_THREADS)]]
kernel void msp_stft_loss_finish(
    const device float* sums [[buffer(0)]],
    device float* mean [[buffer(1)]],
    device float* all_terms [[buffer(2)]],
    const device float* target [[buffer(3)]],  // these two: where there are threadgroups to copy
    device float* copied [[buffer(4)]],
    constant MspStftLossMeanParams& mean_params [[buffer(5)]],
    constant MspStftLossFinishParams* all_params [[buffer(6)]],  // these two: of each loss
    constant MspStftLossWeights* all_weights [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float found[MSP_FINISH_TEAMS * 5];
  threadgroup float finished[MSP_FINISH_TEAMS];

  if (group > 0) {
    const int part = int(group) - 1;
    const int row = part / mean_params.parts;
    const int first = (part - row * mean_params.parts) * MSP_COPIED * MSP_FINISH_THREADS + int(thread_index);
    float held[MSP_COPIED];  // read together, as each takes a while to come
    MSP_UNROLL
    for (int i = 0; i < MSP_COPIED; ++i) {
      const int t = min(first + i * MSP_FINISH_THREADS, mean_params.samples - 1);
      held[i] = target[row * mean_params.target_stride + t];
    }
    MSP_UNROLL
    for (int i = 0; i < MSP_COPIED; ++i) {
      const int t = first + i * MSP_FINISH_THREADS;
      if (t < mean_params.samples) copied[row * mean_params.samples + t] = held[i];
    }
  }

  const int losses = group > 0 ? 0 : mean_params.losses;
  const int team = int(thread_index) / 32, lane = int(thread_index) % 32;
  float sum_of_losses = 0.0f;
  for (int first = 0; first < losses; first += MSP_FINISH_TEAMS) {
    const int count = min(losses - first, MSP_FINISH_TEAMS);
    const int teams = MSP_FINISH_TEAMS / count;  // of each loss
    const int which = team / teams, member = team - which * teams;
    if (which < count) {
      const MspStftLossFinishParams params = all_params[first + which];
      const device float* own = sums + 4 * params.first_sum;
      float4 total = float4(0.0f, 0.0f, 0.0f, 0.0f);
      float quotients = 0.0f;
      if (params.per_row != 0) {
        for (int row = member; row < params.rows; row += teams) {
          float4 sum = float4(0.0f, 0.0f, 0.0f, 0.0f);
          for (int i = lane; i < params.groups; i += 32) sum = sum + msp_take_sums(own + (row * params.groups + i) * 4);
          sum = msp_sum_over_lanes(sum);
          total = total + sum;
          quotients += metal::sqrt(sum.x) / metal::sqrt(sum.y);
          if (lane == 0) all_terms[params.first_term + 3 + row] = msp_worth(sum.x, sum.y) / float(params.rows);
        }
      } else {
        const int sums_of_all = params.rows * params.groups;
        for (int i = 32 * member + lane; i < sums_of_all; i += 32 * teams) total = total + msp_take_sums(own + 4 * i);
        total = msp_sum_over_lanes(total);
      }
      if (lane == 0) {
        msp_store_sums(found + 5 * team, total);
        found[5 * team + 4] = quotients;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (int(thread_index) < count) {  // a thread for each loss
      const MspStftLossFinishParams params = all_params[first + int(thread_index)];
      const MspStftLossWeights weights = all_weights[first + int(thread_index)];
      device float* terms = all_terms + params.first_term;
      float4 total = float4(0.0f, 0.0f, 0.0f, 0.0f);
      float quotients = 0.0f;
#pragma unroll 4
      for (int i = int(thread_index) * teams; i < (int(thread_index) + 1) * teams; ++i) {
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
      finished[thread_index] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int which = 0; which < count; ++which) sum_of_losses += finished[which];
  }
  if (group == 0 && thread_index == 0) mean[0] = sum_of_losses / float(losses);
}
