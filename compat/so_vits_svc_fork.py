"""so-vits-svc-fork: training on MPS goes on calling torch.stft, on the device.

Unpatched, the start of a training puts a function at torch.stft that copies every signal to the CPU and the spectrum
back, for the rest of the process. So it still does where torch has no complex operations (tools/complex_support.py). If
the training starts before enable(), our torch.stft is above that function, and nothing is needed here.
"""

from __future__ import annotations

from .tools.complex_support import stays
from .tools.project import Project
from .tools.recompiled import Recompiled

_DECISION = "if isinstance(self.trainer.accelerator, (TPUAccelerator, MPSAccelerator)):"
_STAYS = f"""if isinstance(self.trainer.accelerator, MPSAccelerator) and msp_stays(self.device):
            pass
        el{_DECISION}"""
_START = Recompiled({_DECISION: _STAYS}, signal_of=lambda model: next(model.parameters(), None), msp_stays=stays)

PROJECT = Project(
    "so_vits_svc_fork",
    hooks=(_START.hook("so_vits_svc_fork.train", "VitsLightning.on_train_start"),),
    distribution="so-vits-svc-fork",
    packages=("so_vits_svc_fork",),
    tested=("4.1", "4.3"),
)
