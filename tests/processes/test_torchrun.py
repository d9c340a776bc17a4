"""torchrun, unmodified: two processes with gloo and DistributedDataParallel, and the workers of their DataLoaders."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.cli.installed import Environment, build_wheel, make_environment

from . import recipes, work

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed"),
]

PROGRAM = """
import torch, work

def main():
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    error, gradients = work.call(), work.step(rank, ranks)
    loaded = {method: work.load(method) for method in ("fork", "spawn", "forkserver")}
    work.tell(work.told(rank, error, *gradients, loaded=loaded))
    torch.distributed.destroy_process_group()

if __name__ == "__main__":
    main()
"""
ENABLE = "import mps_spectro_patch\nmps_spectro_patch.enable(devices=('simulator',), on_error='raise')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Environment:
    folder = tmp_path_factory.mktemp("installed")
    return make_environment(folder / "venv", build_wheel(folder))


@pytest.mark.parametrize("how", ["environment variable", "enable()"])
def test_both_ranks_and_their_workers_are_fast_and_right(how, installed, tmp_path):
    program = tmp_path / "train.py"
    program.write_text(PROGRAM if how == "environment variable" else ENABLE + PROGRAM)
    shutil.copy(work.__file__, tmp_path)
    variables, (torchrun, *options) = recipes.command("torchrun")
    assert (torchrun, variables) == ("torchrun", {"MPS_SPECTRO_PATCH": "1"})
    variables |= {"MPS_SPECTRO_PATCH_DEVICES": "simulator", "MPS_SPECTRO_PATCH_ON_ERROR": "raise"}
    # What the command `torchrun` runs; that is beside the interpreter where torch is.
    done = installed.run("-m", "torch.distributed.run", *options, program,
                         **variables if how == "environment variable" else {})  # fmt: skip
    assert "mps_spectro" not in done.stderr
    for rank in work.check(done.stdout):
        assert rank["loaded"].keys() == {"fork", "spawn", "forkserver"}
        for loaded in rank["loaded"].values():
            assert loaded["is another"] and loaded["fast"] == [1] * 3 and loaded["error"] <= 3e-7, rank
