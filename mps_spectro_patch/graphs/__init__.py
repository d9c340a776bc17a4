"""A pass over graphs: finds an stft and the steps behind it in what torch.compile traced, and fuses them.

It knows no project: formulas.py has what is searched for, search.py looks for it, rewriting.py puts the fused call
there.
"""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:  # the public names; a type checker would take any name from __getattr__
    from .fused import fuse as fuse
else:
    __getattr__, __dir__, __all__ = attach(
        __name__, {"": ("inductor",), "backend": ("mps_spectro",), "fused": ("fuse",)}
    )
