// The kernel of istft.metal begins here and ends in istft_body.metal. Between them may stand more arguments
// (feature_arguments.metal): an #if among them would need a preprocessor wherever the arguments are read.

[[max_total_threads_per_threadgroup(MSP_LANES * MSP_FRAMES)]]
kernel void msp_istft(
    const device float2* input [[buffer(0)]],
    const device float* window [[buffer(1)]],
    const device float2* twiddles [[buffer(2)]],
    const device float2* pair_twiddles [[buffer(3)]],
    const device float* inverse_envelope [[buffer(4)]],
    device float* output [[buffer(5)]],
    constant int* params [[buffer(6)]],
    constant float& scale [[buffer(7)]],
