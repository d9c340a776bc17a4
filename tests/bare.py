"""`pytest -p tests.bare`: as where what the extras have for Linux alone cannot be had, as on a Mac."""

import sys

MODULES = {"cuda-bindings": "cuda", "nvidia-cuda-nvrtc-cu12": None}  # None: a library, which the other one loads


def pytest_load_initial_conftests() -> None:
    for module in filter(None, MODULES.values()):
        sys.modules[module] = None  # an import of it is a ModuleNotFoundError
