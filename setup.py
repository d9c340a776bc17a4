"""What cannot be said in pyproject.toml.

The two-line .pth file goes beside the package in a wheel, so that pip installs and removes it. A package index shows
the README without the repository around it: a build on GitHub (.github/workflows/release.yml) knows where that is.
"""

import os
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PTH = "mps_spectro_patch_autoload.pth"
HERE = Path(__file__).parent


class BuildWithPth(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable installation has no place for it: `mps-spectro-patch autoload on`
            self.copy_file(f"mps_spectro_patch/{PTH}", f"{self.build_lib}/{PTH}")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), f"{self.build_lib}/{PTH}"]


def metadata() -> dict[str, object]:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    urls = {}
    if server and name:
        repository = f"{server}/{name}"
        version = re.search(r'^version = "(.+)"', (HERE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[
            1
        ]
        pages = f"{repository}/blob/v{version}"
        urls = {
            "Repository": repository,
            "Documentation": f"{pages}/docs/patch.md",
            "Changelog": f"{pages}/CHANGELOG.md",
            "Issues": f"{repository}/issues",
        }
        readme = re.sub(r"\]\((?!\w+:|#)", f"]({pages}/", readme).replace("ADDRESS-OF-THIS-REPOSITORY", repository)
    return {"long_description": readme, "long_description_content_type": "text/markdown", "project_urls": urls}


setup(cmdclass={"build_py": BuildWithPth}, **metadata())
