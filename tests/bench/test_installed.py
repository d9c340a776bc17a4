"""bench works from an installed wheel, where there is no repository around it."""

from __future__ import annotations

import json

import pytest

from tests.cli.installed import build_wheel, make_environment


@pytest.mark.thorough
def test_bench_runs_from_a_wheel(tmp_path):
    environment = make_environment(tmp_path / "venv", build_wheel(tmp_path))
    command = ["-m", "mps_spectro_patch", "bench", "--device", "simulator", "--peers", "--tables", "stft"]
    environment.run(*command, "--out", tmp_path / "out", cwd=tmp_path)
    (file,) = (tmp_path / "out").glob("*.json")
    row = json.loads(file.read_text())["rows"][0]
    assert {"torch", "ours", "seed approach"} <= row["by"].keys()
    where = environment.run("-c", "from mps_spectro_patch import bench; print(bench.__file__)").stdout
    assert where.startswith(str(environment.folder))
