"""Python reads this at its start in every process that the tests begin with MPS_SPECTRO_TEST_DEVICE=like-mps: as soon
as torch has been imported, there is the device "mps"."""

import os
import sys


class _BesideTorch:
    """Finds torch as those behind it do, and loads it with that device."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        behind = [finder for finder in sys.meta_path if finder.__class__ is type and finder.__name__ == "PathFinder"]
        spec = behind[0].find_spec(name, path, target)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                _install()

            spec.loader.exec_module = exec_module
        return spec


def _install():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("_like_mps", os.path.join(os.path.dirname(__file__), "..", "__init__.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install()
    module.say_at_the_end()


if os.environ.get("MPS_SPECTRO_TEST_BACKEND"):
    place = next(i for i, finder in enumerate(sys.meta_path) if getattr(finder, "__name__", "") == "PathFinder")
    sys.meta_path.insert(place, _BesideTorch())
