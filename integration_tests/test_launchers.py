"""What starts many processes: accelerate launch, PyTorch Lightning, Ray and Dask, unmodified. Each recipe of
docs/scaling.md runs with two of them.

    pip install accelerate pytorch-lightning ray dask distributed
"""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.processes import recipes, work

pytest_plugins = ("front_ends",)
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch is built without torch.distributed"
)
VARIABLE = {"MPS_SPECTRO_PATCH": "1"}
OPTIONS = {"MPS_SPECTRO_PATCH_DEVICES": "simulator", "MPS_SPECTRO_PATCH_ON_ERROR": "raise"}


@pytest.fixture
def run(installed, tmp_path):
    """run(program, words before its name, variables): checks what two processes tell."""

    def start(program: str, *words: str, **variables: str) -> None:
        path = tmp_path / "train.py"
        path.write_text(program)
        shutil.copy(work.__file__, tmp_path)
        done = installed.run(*words, path, cwd=tmp_path, **variables)
        work.check(done.stdout)
        assert "mps_spectro" not in done.stderr

    return start


def test_accelerate_launch(run):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    variables, (accelerate, launch, *options) = recipes.command("accelerate")
    assert (variables, accelerate, launch) == (VARIABLE, "accelerate", "launch")
    program = """
import torch, work
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
rank, error, model = accelerator.process_index, work.call(), accelerator.prepare(work.Denoiser())
accelerator.backward(work.loss(model, work.signals(rank)))
gradient = accelerator.unwrap_model(model).gain.grad
work.tell(work.told(rank, error, gradient, list(accelerator.gather(gradient[None]))))
accelerator.end_training()
"""
    run(program, "-m", "accelerate.commands.launch", *options, **variables, **OPTIONS)


@pytest.mark.parametrize("how", ["environment variable", "enable()"])
def test_lightning_spawns(run, how):
    pytest.importorskip("pytorch_lightning", reason="pytorch-lightning is not installed")
    variables, (python,) = recipes.command("PyTorch Lightning")
    assert (variables, python) == (VARIABLE, "python")
    program = """
import torch, work
import pytorch_lightning as lightning

class Training(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = work.Denoiser()

    def training_step(self, batch, index):
        self.error = work.call()
        return work.loss(self.model, batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_after_backward(self):
        gradient = self.model.gain.grad
        work.tell(work.told(self.global_rank, self.error, gradient, list(self.all_gather(gradient))))

if __name__ == "__main__":
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer = lightning.Trainer(strategy="ddp_spawn", accelerator="cpu", devices=2, max_epochs=1, **quiet)
    trainer.fit(Training(), torch.utils.data.DataLoader([work.signals(0), work.signals(1)]))
"""
    if how == "environment variable":
        run(program, **variables, **OPTIONS)
    else:
        run("import mps_spectro_patch\nmps_spectro_patch.enable()\n" + program, **OPTIONS)


def test_ray(run):
    """By its own setting: the program that starts the workers is not accelerated."""
    pytest.importorskip("ray", reason="ray is not installed")
    program = f"""{recipes.code("Ray")}
import tempfile
import torch, work

@ray.remote(num_cpus=1)
def train(rank, place):
    return work.join(rank, 2, place)

with tempfile.TemporaryDirectory() as folder:
    for told in ray.get([train.remote(rank, folder + "/meeting") for rank in range(2)]):
        work.tell(told)
assert torch.stft is torch.functional.stft
"""
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    run(program, **OPTIONS, **quiet)


def test_dask(run):
    """Likewise."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    program = f"""{recipes.code("Dask")}
import tempfile
import dask.distributed
import torch, work

if __name__ == "__main__":
    cluster = dask.distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with tempfile.TemporaryDirectory() as folder, dask.distributed.Client(cluster) as client:
        places = list(client.scheduler_info()["workers"])
        tasks = [client.submit(work.join, rank, 2, folder + "/meeting", workers=[places[rank]]) for rank in range(2)]
        for told in client.gather(tasks):
            work.tell(told)
    cluster.close()
    assert torch.stft is torch.functional.stft
"""
    run(program, **OPTIONS)
