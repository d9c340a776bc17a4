"""Reloaders delete modules and import them again (Spyder's), or load them again in place (autoreload): enable() works
after each, nothing piles up, and disable() gives torch's own functions back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiers import some

STAND_IN = Path(__file__).parents[1] / "front_ends" / "stand_in"

BEGIN = f"""
import importlib, sys
sys.path.insert(0, {str(STAND_IN)!r})
import torchaudio
import mps_spectro_patch as msp

spectrogram, right = torchaudio.functional.spectrogram, magnitude(x)
packages = "mps_spectro_patch",

def names():
    return [name for name in sys.modules if name.partition(".")[0] in packages]

def import_again():
    global msp
    for name in names():
        del sys.modules[name]
    import mps_spectro_patch as msp

def fast():
    msp.reset_stats()
    torch.testing.assert_close(magnitude(x), right, rtol=1e-4, atol=1e-4)
    return msp.stats()["stft"].fast

def is_clean():
    keys = ("CPU", "AutogradCPU")
    registered = [torch._C._dispatch_has_kernel_for_dispatch_key("aten::stft.center", key) for key in keys]
    left = [name for name in vars(torch) if "mps_spectro" in name and name.endswith("_end")]
    return (torch.stft is original_stft and torch.istft is original_istft and not any(registered) and not left
            and torchaudio.functional.spectrogram is spectrogram)

"""

CASES = [("torchaudio=True", 2), ("", 12), ("reach='references'", 2), ("reach='dispatcher'", 2)]


@pytest.mark.parametrize(("options", "times"), some(CASES, first=CASES[:1]))
def test_a_package_that_is_imported_again_takes_the_place_of_the_one_before(options, times, run_python):
    output = run_python(f"""{BEGIN}
for _ in range({times}):
    msp.enable(devices=devices, {options})
    print(fast(), end=" ")
    import_again()
msp.enable(devices=devices, {options})
print(fast())
msp.disable()
print(is_clean(), fast())
""")
    assert output == "1 " * times + "1\nTrue 0\n"


def test_disable_of_a_new_import_ends_what_the_one_before_has_patched(run_python):
    output = run_python(f"""{BEGIN}
before = msp
msp.enable(devices=devices, reach="dispatcher")
magnitude(x)
import_again()
print(msp.is_enabled(), end=" ")
msp.disable()
print(is_clean(), before.is_enabled())
""")
    assert output == "False True False\n"


@pytest.mark.thorough
def test_functions_of_an_import_before_work_as_long_as_nobody_else_patches(run_python):
    output = run_python(f"""{BEGIN}
before = msp
accelerated, enable, disable = msp.accelerated(devices=devices)(lambda: fast()), msp.enable, msp.disable
accelerated()  # what is imported late, it imports now
import_again()
msp, after = before, msp
print(accelerated(), is_clean(), end=" ")
after.enable(devices=devices)
msp = after
print(fast(), accelerated(), fast(), end=" ")  # inside, the options of another package hold
disable()
print(is_clean(), end=" ")
enable(devices=devices)
msp = before
print(fast(), accelerated(), fast(), after.is_enabled())
after.disable()
print(is_clean())
""")
    assert output == "1 True 1 1 1 True 1 1 1 False\nTrue\n"


@pytest.mark.thorough
def test_a_scope_that_is_open_meanwhile_ends_as_it_should(run_python):
    output = run_python(f"""{BEGIN}
with msp.accelerated(devices=devices):
    import_again()
    with msp.accelerated(devices=devices):
        print(fast(), end=" ")
    print(fast(), is_clean(), end=" ")
print(is_clean())
""")
    assert output == "1 0 True True\n"


@pytest.mark.thorough
def test_modules_that_are_emptied_and_loaded_again_leave_nothing_behind(run_python):
    """As IPython's autoreload does it. What was enabled may be forgotten, but not how to undo it."""
    output = run_python(f"""{BEGIN}
warnings.simplefilter("ignore")  # torch's, about derivatives that are registered twice
for _ in range(2):
    msp.enable(devices=devices, torchaudio=True, reach="dispatcher")
    fast()
    for name in names():
        module = sys.modules[name]
        before = dict(vars(module))
        vars(module).clear()
        vars(module).update(__name__=name, __loader__=before["__loader__"])
        try:
            importlib.reload(module)
        except Exception:
            vars(module).update(before)
    msp.enable(devices=devices)
    assert fast() == 1
msp.disable()
print(is_clean(), fast())
""")
    assert output == "True 0\n"


@pytest.mark.thorough
@pytest.mark.parametrize("which", ["every module", "one by one"])
def test_modules_that_are_loaded_again_know_what_is_patched(which, run_python):
    output = run_python(f"""{BEGIN}
warnings.simplefilter("ignore")  # torch's, about derivatives that are registered twice
msp.enable(devices=devices, torchaudio=True)
fast(), msp.mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160)
for name in names():
    importlib.reload(sys.modules[name])
    if {which == "one by one"}:
        assert msp.is_enabled() and fast() == 1, name
        msp.enable(devices=devices, torchaudio=True)
        assert fast() == 1, name
for _ in range(3):
    importlib.reload(msp)
    assert msp.is_enabled() and fast() == 1
    msp.enable(devices=devices, torchaudio=True)
    assert fast() == 1
msp.disable()
print(is_clean(), fast())
""")
    assert output == "True 0\n"
