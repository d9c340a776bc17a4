"""The backend of torch.compile that fuses what front ends can do, and runs everything else as the program wrote it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch.fx import GraphModule

from .. import active
from ..execution import load_operators
from ..options import Options
from .rewriting import rewrite
from .step import put_step


def mps_spectro(graph_module: GraphModule, example_inputs: list) -> Callable[..., Any]:
    """torch.compile(..., backend="mps_spectro"): the pass over graphs, and nothing else.

    What enable() accelerates is fused: an stft with the steps behind it. All else runs as in eager mode.

    Args:
        graph_module: what torch.compile traced.
        example_inputs: not looked at.

    Returns:
        Callable: what torch.compile runs.

    Example:
        >>> done = msp.enable(devices=["simulator"])
        >>> window = torch.hann_window(400)
        >>> @torch.compile(backend="mps_spectro")
        ... def power(x):
        ...     return torch.stft(x, 400, window=window, return_complex=True).abs() ** 2
        >>> power(torch.randn(2, 4000)).shape
        torch.Size([2, 201, 41])
        >>> msp.stats()["graph"].fast
        1
        >>> msp.disable()
    """
    options = active.process
    return graph_module.forward if options is None else fused(graph_module, None, options.verify)


def fused(graph_module: GraphModule, options: Options | None, verify: str) -> Callable[..., Any]:
    """options: for which torch's own stft is fused too, see search.search()."""
    load_operators()
    if rewrite(graph_module.graph, options, partial(put_step, options=options, verify=verify)):
        graph_module.recompile()
    return graph_module.forward
