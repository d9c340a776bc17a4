    // MSP_FEATURES: what feature_source.metal reads.
    const device MSP_SAMPLE* signal [[buffer(8)]],
    const device int* band_layout [[buffer(9)]],
    const device float2* band_weights [[buffer(10)]],
    const device int* bin_first [[buffer(11)]],
    const device float* bin_shares [[buffer(12)]],
    const device float* gradient [[buffer(13)]],
    constant int* feature_params [[buffer(14)]],
    constant float* reals [[buffer(15)]],
