"""Tables that kernels read: twiddles, filterbanks, envelopes."""
