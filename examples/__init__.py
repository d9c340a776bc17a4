"""Programs that do not use this package. Installed as mps_spectro_patch.examples, so that the demo finds them."""
