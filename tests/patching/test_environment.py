"""What the environment variables do on import, and what import and a call that is not ours cost."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.tiers import some

DOCS = Path(__file__).parents[2] / "docs" / "patch.md"


@pytest.mark.parametrize("value", some(["1", "true", "on", "Yes"], ["1", "Yes"]))
def test_the_variable_enables_on_import(value, run_python, device_name):
    run_python(
        """
        import mps_spectro_patch as msp
        assert msp.is_enabled() and torch.stft is not original_stft
        assert msp.status().options.devices == devices
        magnitude(x)
        assert msp.stats()["stft"].fast == 1
        """,
        MPS_SPECTRO_PATCH=value,
        MPS_SPECTRO_PATCH_DEVICES=device_name,
    )


def test_other_values_and_no_value_enable_nothing_and_import_no_wrapt(run_python):
    code = """
    import sys
    import mps_spectro_patch as msp
    assert not msp.is_enabled() and torch.stft is original_stft
    assert "wrapt" not in sys.modules and "mps_spectro_patch.ops" not in sys.modules
    """
    for value in ("0", "off", ""):
        run_python(code, MPS_SPECTRO_PATCH=value)


def test_a_wrong_setting_warns_on_import_and_leaves_the_program_alive(run_python):
    output = run_python(
        """
        import mps_spectro_patch as msp
        assert not msp.is_enabled() and torch.stft is original_stft
        """,
        MPS_SPECTRO_PATCH="1",
        MPS_SPECTRO_PATCH_DEVICES="cpu",
    )
    assert "stays off" in output and "MPS_SPECTRO_PATCH_DEVICES" in output


def test_fallbacks_are_logged_once_per_reason_on_request_only(run_python):
    code = """
    import mps_spectro_patch as msp
    msp.enable(devices=devices)
    for _ in range(3):
        torch.stft(x.double(), 400, window=window.double(), return_complex=True)
    """
    if "mps" in run_python("print(device)"):
        pytest.skip("no float64 there")
    assert run_python(code) == ""
    output = run_python(code, MPS_SPECTRO_PATCH_LOG="info")
    assert output.count("torch.stft goes to the original: the input is not float32") == 1


@pytest.mark.thorough
def test_import_costs_at_most_20_ms_beyond_torch(run_python, tmp_path):
    code = f"""
    import sys, time
    sys.dont_write_bytecode, sys.pycache_prefix = False, {str(tmp_path)!r}  # bytecode, as after any installation
    start = time.perf_counter()
    from mps_spectro_patch import accelerated, disable, enable
    print((time.perf_counter() - start) * 1e3)
    """
    times = []
    while len(times) < 8 and min(times, default=99) > 20:
        times.append(float(run_python(code, prelude="import torch\n")))
    print(times)
    assert min(times) <= 20  # a busy machine only adds


@pytest.mark.parametrize(
    ("call", "bounds"), [("none of ours", {"stft": 2, "istft": 2}), ("refused before", {"stft": 5, "istft": 5})]
)
def test_a_call_that_falls_back_costs_few_microseconds_more(call, bounds, run_python):
    """Over a function that does nothing, in turns and by the minimum: a busy machine only adds noise.

    A slow machine has its 2 us stretched by how long it takes for a call that does nothing: 0.7 us where 2 us were set.
    An accelerated call that is refused for the first time is not held to that.
    """
    code = """
    import timeit
    import mps_spectro_patch as msp
    from mps_spectro_patch.patching import layers; from mps_spectro_patch.execution import call_sites as watch
    if refused:
        watch.FIRST = 0
        msp.enable(devices=devices)
    else:
        msp.enable(devices=("cuda",) if x.is_mps else ("mps",))

    def nothing(*args, **kwargs):
        return None

    n_fft = 40_000 if refused else 400  # there is no kernel for the first
    given = dict(hop_length=160, win_length=400, window=window, center=True)
    for op in ("stft", "istft"):
        if refused:
            given["return_complex"] = op == "stft"
        signal = x if op == "stft" else torch.zeros(2, n_fft // 2 + 1, 3, dtype=torch.complex64, device=device)
        layer = layers.Layer(op, nothing).function
        best = {nothing: 1.0, layer: 1.0}
        for _ in range(400):
            for function in best:
                seconds = timeit.timeit(lambda: function(signal, n_fft, **given), number=50) / 50
                best[function] = min(best[function], seconds)
        more = (best[layer] - best[nothing]) * 1e6
        assert msp.stats()[op].fallback.keys() == {"n_fft" if refused else "device"}, msp.stats()
        print(op, more / max(1, best[nothing] * 1e6 / 0.7))
    """.replace("refused", str(call == "refused before"))
    best = {}
    for _ in range(8):  # whole processes as well: a shared machine can be slow for seconds
        for op, microseconds in map(str.split, run_python(code).splitlines()):
            best[op] = min(best.get(op, 1e9), float(microseconds))
        if all(best[op] <= bounds[op] for op in best):
            break
    print(best)
    assert best.keys() == bounds.keys() and all(best[op] <= bounds[op] for op in best)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("MPS_SPECTRO_PATCH_OPS", "MPS_SPECTRO_PATCH_OPS: no such environment variable; there are MPS_SPECTRO_PATCH_"),
        ("MPS_SPECTRO_PATCH_DEVICE", "MPS_SPECTRO_PATCH_DEVICE: no such environment variable"),
        ("MPS_SPECTRO_PATCH", "MPS_SPECTRO_PATCH='maybe' is ignored: expected 1 or 0"),
    ],
)
def test_a_misspelt_variable_is_warned_of_once(variable, words, run_python):
    code = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import mps_spectro_patch as msp
        msp.enable(), msp.disable()
    print([str(one.message) for one in caught if one.category is RuntimeWarning])
    """
    (warning,) = ast.literal_eval(run_python(code, **{variable: "maybe"}))
    assert words in warning


def test_known_variables_are_not_warned_of(run_python):
    names = re.findall(r"MPS_SPECTRO_PATCH(?:_[A-Z]+)+", DOCS.read_text(encoding="utf-8"))
    assert {"MPS_SPECTRO_PATCH_DEVICES", "MPS_SPECTRO_PATCH_CACHE", "MPS_SPECTRO_PATCH_TUNED"} <= set(names)
    run_python("import mps_spectro_patch.options", prelude="import warnings; warnings.simplefilter('error')\n",
               MPS_SPECTRO_PATCH="off", **{name: "" for name in names})  # fmt: skip


BEFORE_TORCH = ["import mps_spectro_patch", "import mps_spectro_patch.execution.runner",
                "from mps_spectro_patch import accelerated"]  # fmt: skip


@pytest.mark.parametrize("first", some(BEFORE_TORCH, BEFORE_TORCH[:2]))
def test_it_is_installed_when_torch_comes_even_by_our_own_hands(first, run_python, device_name):
    run_python(
        f"""
        import sys
        import mps_spectro_patch as msp
        assert "torch" not in sys.modules
        {first}
        import torch
        assert torch.stft is not torch.functional.stft and msp.is_enabled()
        assert msp.status().options.devices == ({device_name!r},)
        assert not [finder for finder in sys.meta_path if "startup" in repr(finder)]
        """,
        prelude="",
        MPS_SPECTRO_PATCH="1",
        MPS_SPECTRO_PATCH_DEVICES=device_name,
    )
