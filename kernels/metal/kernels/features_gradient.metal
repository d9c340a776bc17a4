// The gradient of the features with respect to the signal: the adjoint of stft as in kernels/istft.metal (MSP_ADJOINT),
// but its spectra are not read: they are made again, frame by frame (features/recompute.metal).

#define MSP_RECOMPUTE 1
#define MSP_GRADIENT 1

#include "features/recompute.metal"
#include "frames/bins.metal"
#include "overlap/envelope.metal"
#include "overlap/gather.metal"
#include "overlap/padding_adjoint.metal"

// Where overlap/walk.metal takes its frames from.
#define MSP_SOURCE() \
  const MspFeatureSource source = { \
      signal + row_index * feature_params.signal_stride, window, twiddles, pair_twiddles, \
      gradient + row_index * feature_params.gradient_row, feature_params.gradient_frames, \
      feature_params.gradient_feature, feature_params.gradient_frame, params.length, params.first, params.pad_mode, \
      params.hop_length, params.win_left, params.win_length, feature_params.paired_loads != 0, \
      params.paired_window != 0, msp_wanted_features(MSP_BINS, feature_params, scaling), \
      {band_layout, band_weights, bin_first, bin_shares}}

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_features_gradient(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant MspIstftParams& params [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    const device MSP_SAMPLE* signal [[buffer(8)]],
    const device int4* band_layout [[buffer(9)]],
    const device float2* band_weights [[buffer(10)]],
    const device int* bin_first [[buffer(11)]],
    const device float* bin_shares [[buffer(12)]],
    const device float* gradient [[buffer(13)]],
    constant MspFeatureGradientParams& feature_params [[buffer(14)]],
    constant MspFeatureScale& scaling [[buffer(15)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
#include "overlap/walk.metal"
}
