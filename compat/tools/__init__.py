"""What the modules of projects are made of."""
