"""torch.stft and torch.istft as single fused Metal kernels, without editing the program that calls them."""
