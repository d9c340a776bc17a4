"""What the modules of projects share: overriding, recompiling and recognising functions, windows, mel front ends."""
