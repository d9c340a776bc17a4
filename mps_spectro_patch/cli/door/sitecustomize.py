"""Python imports this module before the program that `run` starts, in place of the environment's own of that name.

That one comes after it, as if this one had not been there. Where there is none, the ImportError at the end is what
site.py expects.
"""

import sys

_here = sys.path.index(__file__.rpartition("/")[0])
del sys.path[_here], sys.modules[__name__]
sys.path.append(__file__.rpartition("/mps_spectro_patch/")[0])  # last, and only for now: it may be found without
try:
    from mps_spectro_patch.cli.inside import begin
finally:
    sys.path.pop()
begin()

import sitecustomize  # noqa: E402, F401
