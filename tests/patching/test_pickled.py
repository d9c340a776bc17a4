"""What a program keeps of torch.stft and torch.istft can be pickled and copied at any time, and is found in other
processes: by spawned workers, which is how macOS starts those of a DataLoader."""

from __future__ import annotations

import base64
import copy
import functools
import io
import itertools
import pickle

import pytest
import torch

import mps_spectro_patch as msp
from tests.tiers import some

STFT, ISTFT = torch.stft, torch.istft


def kept():
    return [
        functools.partial(torch.stft, n_fft=64, return_complex=True),
        functools.partial(functools.partial(torch.istft, n_fft=64), center=True),
        {"a list": [torch.stft, torch.istft]},
    ]


def functions_of(value):
    if isinstance(value, functools.partial):
        return functions_of(value.func)
    if isinstance(value, dict | list):
        return [function for one in (value.values() if isinstance(value, dict) else value) for function in
                functions_of(one)]  # fmt: skip
    return [value]


def torch_saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    **{f"pickle {n}": lambda value, n=n: pickle.loads(pickle.dumps(value, n)) for n in range(6)},
    "python's pickle": lambda value: pickle._loads(pickle._dumps(value)),
    "copy": copy.copy, "deepcopy": copy.deepcopy, "torch.save": torch_saved,
}  # fmt: skip


@pytest.mark.parametrize("way", some(COPIES, ["pickle 0", "pickle 5", "python's pickle", "copy", "deepcopy"]))
def test_functions_that_were_kept_can_be_copied_whatever_is_patched_by_then(way, on):
    changes = {
        "enable": lambda: msp.enable(**on),
        "disable": msp.disable,
        "only istft": lambda: msp.enable(**on, ops=["istft"]),
    }
    for first, second in itertools.permutations(changes, 2):
        everything = [kept()]
        for change in (first, second, first):
            changes[change]()
            everything.append(kept())
            for value in itertools.chain(*everything):
                for before, after in zip(functions_of(value), functions_of(COPIES[way](value)), strict=True):
                    # One that stood at torch.stft by another name than that: what stands there, or what it covered.
                    op = before.__name__
                    assert after in (before, getattr(torch, op), STFT if op == "stft" else ISTFT), (first, second)
        msp.disable()


def test_repeated_scopes_leave_no_names_behind(on):
    from mps_spectro_patch.patching import pickled

    for _ in range(3):
        with msp.accelerated(**on):
            function = torch.stft
        assert pickle.loads(pickle.dumps(function)) is function
    known = len(pickled._taken_out)
    for _ in range(20):
        with msp.accelerated(**on):
            pass
    assert len(pickled._taken_out) == known
    with pytest.raises(AttributeError, match="no_such_name"):
        pickled.no_such_name  # noqa: B018


@pytest.mark.thorough
@pytest.mark.parametrize("worker", ["", "import mps_spectro_patch as msp; msp.enable(devices=devices)"])
@pytest.mark.parametrize("ended", [True, False])
def test_another_process_finds_torchs_function_of_its_own(ended, worker, on, run_python):
    msp.enable(**on)
    values = kept()
    if ended:
        msp.disable()
    text = base64.b64encode(pickle.dumps(values)).decode()
    msp.disable()
    assert run_python(f"""
        import base64, pickle
        {worker}
        stft, istft, both = pickle.loads(base64.b64decode({text!r}))
        spectrum = stft(x, window=torch.hann_window(64, device=device))
        signal = istft(spectrum, window=torch.hann_window(64, device=device))
        torch.testing.assert_close(signal, x[:, : signal.shape[1]], rtol=1e-4, atol=1e-4)
        print(stft.func is torch.stft, istft.func is torch.istft, both["a list"] == [torch.stft, torch.istft])
    """) == "True True True\n"  # fmt: skip


@pytest.mark.thorough
def test_a_spawned_worker_of_a_data_loader_gets_them(on, run_python):
    assert run_python("""
        import sys, types
        if __name__ == "__main__":
            import functools
            import mps_spectro_patch as msp
            from torch.utils.data import DataLoader
            from tests.patching.worker_data import Spectra
            msp.enable(devices=devices)
            data = Spectra(functools.partial(torch.stft, n_fft=64, window=torch.hann_window(64), return_complex=True))
            for _ in range(2):
                loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
                print([tuple(batch.shape) for batch in loader])
                msp.disable()
    """, anew=True) == "[(2, 33, 63), (2, 33, 63)]\n" * 2  # fmt: skip
