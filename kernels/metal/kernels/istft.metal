// torch.istft to a real signal in one launch: inverse real FFT, window, overlap-add, envelope and trimming. The order
// of summation is fixed, and there are no atomics. A threadgroup owns a run of consecutive output hops of one row and
// walks the frames that reach them; the frames just before its run are transformed again, so that runs do not depend on
// each other.
//
// MSP_OVERLAP says where unfinished samples wait:
//   GATHER  MSP_FRAMES frames at a time go to threadgroup memory, and every sample gathers its frames from there;
//   RING    one frame at a time is added to a ring of n_fft samples in threadgroup memory;
//   DEVICE  one frame at a time is added to the output row itself (n_fft too large for a ring).
//
// MSP_ADJOINT: the adjoint of stft with respect to its signal. There is no envelope, and the ends of the signal belong
// to threadgroups of their own (overlap/padding_adjoint.metal).

#define MSP_RECOMPUTE 0

#include "frames/bins.metal"
#include "overlap/envelope.metal"
#include "overlap/gather.metal"
#include "overlap/padding_adjoint.metal"

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_istft(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant MspIstftParams* given [[buffer(6)]],
    constant float& scale [[buffer(7)]],
    uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]]) {
  const MspIstftParams params = *given;  // read once: it takes fewer registers
#include "overlap/walk.metal"
}
