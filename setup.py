"""Puts the two-line .pth file beside the package in a wheel, so that pip installs and removes it.

All else that is to be said about building is in pyproject.toml.
"""

from setuptools import setup
from setuptools.command.build_py import build_py

PTH = "mps_spectro_patch_autoload.pth"


class BuildWithPth(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation has no place for it: `mps-spectro-patch autoload on`
            self.copy_file(f"mps_spectro_patch/{PTH}", f"{self.build_lib}/{PTH}")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), f"{self.build_lib}/{PTH}"]


setup(cmdclass={"build_py": BuildWithPth})
