"""torch.library.Library where the path of this package has characters that the locale does not know.

torch hands the file name of the caller to C++, as UTF-8. Under the C locale such a path is no UTF-8, and no namespace
could be made.
"""

from __future__ import annotations

from typing import Any

import torch

_MAKE = compile("(lambda: Library(namespace, kind))()", __package__, "eval")  # torch looks at the frames of this text


def make(namespace: str, kind: str) -> Any:
    """torch.library.Library(namespace, kind)"""
    return eval(_MAKE, {"Library": torch.library.Library, "namespace": namespace, "kind": kind})
