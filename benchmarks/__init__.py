"""Measurements and instruments of this repository; not part of the package."""
