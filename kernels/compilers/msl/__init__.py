"""Metal text for C++ and NVRTC: tokens, conditionals, translation, entry points."""
