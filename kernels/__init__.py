"""Metal sources, FFT plans and the three compilers that turn one into the other."""
