"""Reloaders delete modules and import them again (Spyder's), or load them again in place (autoreload): enable() works
after each, nothing piles up, and disable() gives torch's own functions back."""

from __future__ import annotations

import random
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


AUTORELOADED = f"""{BEGIN}
from tests.patching.reloading import autoreload
warnings.simplefilter("ignore")  # torch's, about derivatives that are registered twice
length = 4000

def fast(are_warnings_errors=True):
    # Of a call that is in no cache, and of one that is.
    global length
    length -= 8
    signal = x[:, :length]
    with msp.accelerated(devices=()):
        expected = magnitude(signal)
    msp.reset_stats()
    with warnings.catch_warnings():
        warnings.simplefilter("error" if are_warnings_errors else "ignore", RuntimeWarning)
        for _ in range(2):
            torch.testing.assert_close(magnitude(signal), expected, rtol=1e-4, atol=1e-4)
    return msp.stats()["stft"].fast

def all_is_well(name):
    assert msp.is_enabled() and fast() == 2, name
    with msp.accelerated(devices=()):
        assert fast() == 0, name
    with msp.accelerated(devices=devices):
        assert fast() == 2, name
    assert "stft" in str(msp.report()) and "patched" in str(msp.status()), name
"""


@pytest.mark.thorough
@pytest.mark.parametrize("options", ["torchaudio=True", "reach='dispatcher'", "reach='references'"])
def test_autoreload_changes_nothing_of_what_is_enabled_and_leaves_nothing_behind(options, run_python):
    """As IPython does it with modules whose files have changed. No enable() is needed after it."""
    output = run_python(f"""{AUTORELOADED}
for turn in range(2):
    msp.enable(devices=devices, {options})
    all_is_well("at first")
    for name in names():
        autoreload(name)
        assert msp.is_enabled(), name
    all_is_well("every module")
    msp.disable()
    assert type(torch.functional) is type(sys), type(torch.functional)
    print(is_clean(), msp.is_enabled(), fast())
""")
    assert output == "True False 0\n" * 2


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["active", "execution.launches", "execution.counters"])
def test_after_the_autoreload_of_one_module_calls_are_as_fast_as_before(module, run_python):
    output = run_python(f"""{AUTORELOADED}
msp.enable(devices=devices)
all_is_well("at first")
autoreload("mps_spectro_patch.{module}")
all_is_well("{module}")
with msp.accelerated(devices=()):
    autoreload("mps_spectro_patch.{module}")
    assert fast() == 0
all_is_well("in a scope")
msp.disable()
print(is_clean(), msp.is_enabled(), fast())
""")
    assert output == "True False 0\n"


@pytest.mark.thorough
def test_ipythons_own_autoreload_does_as_well(run_python):
    pytest.importorskip("IPython")
    output = run_python(f"""{AUTORELOADED}
from IPython.extensions.autoreload import superreload
msp.enable(devices=devices)
for name in names():
    try:
        superreload(sys.modules[name])
    except (TypeError, RecursionError) as error:  # it cannot take thread-locals, nor torch's autograd functions
        assert "__setattr__" in str(error) or "recursion" in str(error), (name, error)
    # Modules that took a class of this one before know it as it was: their calls may go to torch.
    assert msp.is_enabled() and fast(are_warnings_errors=False) in (0, 1, 2), name
msp.disable()
print(is_clean(), msp.is_enabled(), fast())
""")
    assert output == "True False 0\n"


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(4))
def test_after_any_sequence_of_reloads_wrappers_and_scopes_torchs_functions_are_back(number, run_python):
    seed = random.randrange(2**31)
    run_python(f"""
        from tests.patching.reloading import Sequence
        warnings.simplefilter("ignore")
        Sequence({seed}, devices, x, window).run(15)
    """)


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
