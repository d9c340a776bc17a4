"""WHO is reached: our functions at torch.stft and torch.istft, put in and taken out. Knows no FFT."""

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:  # the public names; a type checker would take any name from __getattr__
    from .install import disable as disable
    from .install import enable as enable
    from .install import is_enabled as is_enabled
    from .scope import accelerated as accelerated
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "": ("entry", "hooks", "install", "layers"),
            "install": ("disable", "enable", "is_enabled"),
            "scope": ("accelerated",),
        },
    )
