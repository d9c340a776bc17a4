"""The version of this package, for everybody who writes it into a file or a message."""

__version__ = "0.1.0"
