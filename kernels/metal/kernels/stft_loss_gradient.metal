// The gradient of an STFT loss with respect to its input: the adjoint of stft as in kernels/istft.metal (MSP_ADJOINT),
// but its spectra are not read: they are made again, frame by frame, with the target's (losses/recompute.metal). Of a
// mean of several losses, each adds its part to what those before it have left.

#define MSP_RECOMPUTE 1

#include "frames/bins.metal"
#include "losses/recompute.metal"
#include "overlap/envelope.metal"
#include "overlap/gather.metal"
#include "overlap/padding_adjoint.metal"

// Where overlap/walk.metal takes its frames from.
#define MSP_SOURCE() \
  const MspLossSource source = { \
      {signal + row_index * loss_params.input_stride, target + row_index * loss_params.target_stride, window, twiddles, \
       pair_twiddles, params.length, params.first + MSP_SKIPPED, params.pad_mode, params.hop_length, params.win_left, \
       params.win_length, loss_params.paired_input != 0, loss_params.paired_target != 0, params.paired_window != 0}, \
      magnitudes, weights}

#define MSP_SKIPPED loss_params.skipped
#define MSP_ADDS loss_params.adds

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_stft_loss_gradient(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant MspIstftParams& params [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    const device MSP_SAMPLE* signal [[buffer(8)]],
    const device MSP_SAMPLE* target [[buffer(9)]],
    const device float* terms [[buffer(10)]],           // as kernels/stft_loss_finish.metal leaves them
    const device float* loss_gradient [[buffer(11)]],   // these two: where there is one
    const device float* terms_gradient [[buffer(12)]],
    constant MspStftLossGradientParams& loss_params [[buffer(13)]],
    constant MspStftLossScale& loss_scale [[buffer(14)]],
    constant MspStftLossWeights& loss_weights [[buffer(15)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  float4 given = float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (loss_params.has_loss != 0) {
    given = float4(loss_weights.convergence, 0.0f, loss_weights.log, loss_weights.linear)
        * (loss_gradient[0] / loss_weights.losses);
  }
  if (loss_params.has_terms != 0) {
    given = given + float4(terms_gradient[0], 0.0f, terms_gradient[1], terms_gradient[2]);
  }
  const float worth = terms[loss_params.first_term + 3 + (loss_params.per_row != 0 ? int(group) / params.groups : 0)];
  const float per_bin = 1.0f / loss_weights.count;
  const float4 weights = float4(
      loss_weights.convergence != 0.0f ? given.x * worth : 0.0f, 0.0f, given.z * per_bin, given.w * per_bin);
  const MspMagnitudes magnitudes = {loss_scale.eps, loss_scale.factor, loss_scale.added};
#include "overlap/walk.metal"
}
