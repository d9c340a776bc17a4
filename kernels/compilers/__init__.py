"""The three compilers of Metal text: torch.mps, NVRTC and a C++ compiler."""
