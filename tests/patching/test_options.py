"""Options: what is accepted, what is refused in which words, and what the environment sets."""

from __future__ import annotations

import pytest

import mps_spectro_patch as msp
from mps_spectro_patch import options as options_module
from mps_spectro_patch.options import Options


def test_the_defaults_are_the_documented_ones():
    assert Options.resolve() == Options(
        devices=("mps",),
        ops=("stft", "istft"),
        torchaudio=None,
        compat=None,
        reach="attribute",
        verify="first",
        on_error="fallback",
        on_fallback="quiet",
    )


@pytest.mark.parametrize("devices", [("mps", "cuda"), ["mps", "cuda"], "mps,cuda", "mps, cuda", ("mps", "cuda", "mps")])
def test_devices_may_be_any_collection_of_names(devices):
    assert Options(devices=devices).devices == ("mps", "cuda")


def test_options_are_immutable():
    with pytest.raises(AttributeError):
        Options().verify = "off"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devices": ("cpu",)}, "'cpu' is refused.*really is faster"),
        ({"devices": ("tpu",)}, "devices: 'tpu' is not one of 'mps', 'cuda', 'simulator'"),
        ({"devices": 3}, "devices=3"),
        ({"ops": ("fft",)}, "ops: 'fft' is not one of 'stft', 'istft'"),
        ({"reach": "everything"}, "reach='everything': expected one of 'attribute'"),
        ({"verify": "sometimes"}, "verify='sometimes': expected one of 'first', 'always', 'off'"),
        ({"verify": True}, "verify=True"),
        ({"on_error": "ignore"}, "on_error='ignore': expected one of 'fallback', 'raise'"),
        ({"on_fallback": "warn"}, "on_fallback='warn': expected one of 'quiet', 'raise'"),
    ],
)
def test_a_wrong_value_is_a_value_error_that_names_it_and_changes_nothing(given, words):
    with pytest.raises(ValueError, match=words):
        msp.enable(**given)
    with pytest.raises(ValueError, match=words):
        msp.accelerated(**given)
    assert not msp.is_enabled()


@pytest.fixture
def projects(monkeypatch):
    monkeypatch.setattr(options_module, "PROJECTS", ("first", "second"))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(None, ("first", "second")), (True, ("first", "second")), (False, ()), ((), ()), (("second",), ("second",)),
     ("second,first", ("second", "first"))],
)  # fmt: skip
def test_compat_selects_projects(projects, given, wanted):
    assert Options(compat=given).projects == wanted
    assert Options(compat=given).groups == tuple(f"compat.{name}" for name in wanted)


ALL = ("first", "second")


@pytest.mark.parametrize(("text", "wanted"), [("0", ()), ("off", ()), ("1", ALL), ("First", ("first",))])
def test_compat_from_the_environment(projects, monkeypatch, text, wanted):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_COMPAT", text)
    assert Options.resolve().projects == wanted


@pytest.mark.parametrize(("text", "wanted"), [("1", True), ("Yes", True), ("0", False), ("off", False), ("", None)])
def test_torchaudio_from_the_environment(monkeypatch, text, wanted):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_TORCHAUDIO", text)
    assert Options.resolve().torchaudio is wanted and ("torchaudio" in Options.resolve().groups) is bool(wanted)
    assert Options.resolve(torchaudio=not wanted).torchaudio is (not wanted)


def test_an_unknown_project_is_a_value_error_that_names_those_that_are_known(projects):
    with pytest.raises(ValueError, match="compat: 'third' is not one of 'first', 'second'"):
        msp.enable(compat=("third",))


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="speed"):
        msp.enable(speed="high")


def test_the_environment_sets_what_is_not_given(monkeypatch):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_DEVICES", "MPS, simulator")
    monkeypatch.setenv("MPS_SPECTRO_PATCH_VERIFY", "off")
    monkeypatch.setenv("MPS_SPECTRO_PATCH_ON_ERROR", "raise")
    monkeypatch.setenv("MPS_SPECTRO_PATCH_REACH", "references")
    monkeypatch.setenv("MPS_SPECTRO_PATCH_ON_FALLBACK", "raise")
    options = Options.resolve(verify="always")
    assert (options.reach, options.on_fallback) == ("references", "raise")
    assert (options.devices, options.verify, options.on_error) == (("mps", "simulator"), "always", "raise")


def test_a_wrong_value_in_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_VERIFY", "maybe")
    with pytest.raises(ValueError, match="MPS_SPECTRO_PATCH_VERIFY: verify='maybe'"):
        msp.enable()


def test_a_switch_in_the_environment_is_on_or_off(monkeypatch):
    monkeypatch.setenv("MPS_SPECTRO_PATCH_TORCHAUDIO", "maybe")
    with pytest.raises(ValueError, match="MPS_SPECTRO_PATCH_TORCHAUDIO: torchaudio='maybe': expected 1 or 0"):
        msp.enable()
