"""enable() and disable(): what stands at torch.stft and torch.istft, and that it passes for torch's own."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import warnings

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.patching import layers

from ..kernels.reference import assert_gradient_accurate

STFT, ISTFT = torch.stft, torch.istft


@pytest.fixture
def enabled(on):
    msp.enable(**on)
    yield
    msp.disable()


def test_enable_routes_stft_istft_and_the_tensor_methods(signal, enabled):
    torch.testing.assert_close(signal.stft(), signal.spectrum, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(signal.istft(), signal.x, rtol=1e-4, atol=1e-4)
    signal.x.stft(400, 160, 400, signal.window, return_complex=True)
    signal.spectrum.istft(400, 160, 400, signal.window)
    assert (msp.stats()["stft"].fast, msp.stats()["istft"].fast) == (2, 2)


def test_enable_twice_is_enable_once(signal, on):
    msp.enable(**on)
    function = torch.stft
    msp.enable(**on)
    assert torch.stft is function
    msp.disable()
    assert torch.stft is STFT


def test_disable_restores_both_by_identity_and_may_be_called_twice(on):
    msp.disable()
    msp.enable(**on)
    assert torch.stft is not STFT and torch.istft is not ISTFT
    msp.disable()
    msp.disable()
    assert torch.stft is STFT and torch.istft is ISTFT


def test_torch_functional_and_torch_vf_stay_as_they_are(enabled):
    assert torch.functional.stft is STFT and torch._VF.istft is ISTFT


def test_a_second_enable_replaces_the_options(signal, on):
    msp.enable(**on)
    msp.enable(devices=())
    assert not signal.is_fast()
    msp.enable(**on)
    assert signal.is_fast()
    msp.disable()


def test_only_the_chosen_op_is_patched(signal, on):
    msp.enable(**on, ops=("istft",))
    assert torch.stft is STFT and torch.istft is not ISTFT
    msp.enable(**on, ops="stft")
    assert torch.stft is not STFT and torch.istft is ISTFT
    msp.disable()


def test_by_default_only_mps_is_accelerated(signal):
    if signal.x.is_mps:
        pytest.skip("this is about the other devices")
    msp.enable()
    signal.stft()
    msp.disable()
    assert msp.stats()["stft"].fallback == {"device": 1}


def test_is_enabled_says_whether_calls_here_are_accelerated(on):
    assert not msp.is_enabled()
    msp.enable(**on)
    assert msp.is_enabled()
    msp.disable()
    assert not msp.is_enabled()


def test_arguments_may_be_given_in_every_way_that_torch_takes(signal, enabled):
    keywords = dict(n_fft=400, hop_length=160, win_length=400, window=signal.window)
    torch.stft(input=signal.x, return_complex=True, **keywords)
    torch.istft(input=signal.spectrum, **keywords)
    torch.istft(signal.spectrum, 400, 160, 400, signal.window, True, False, None, 4000, False)
    torch.stft(signal.x, 400, 160, 400, signal.window, True, "reflect", False, True, True, None)
    assert (msp.stats()["stft"].fast, msp.stats()["istft"].fast) == (2, 2)


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_shape_strides_and_dtype_are_torchs(batch, torch_device, enabled):
    x, window = torch.randn(*batch, 1000, device=torch_device), torch.hann_window(400, device=torch_device)
    for center, frames_of in ((True, x), (False, x[..., :400])):  # the second has one frame only
        ours = torch.stft(frames_of, 400, 160, window=window, center=center, return_complex=True)
        theirs = STFT(frames_of, 400, 160, window=window, center=center, return_complex=True)
        assert (ours.shape, ours.stride(), ours.dtype) == (theirs.shape, theirs.stride(), theirs.dtype)
    spectrum = STFT(x, 400, 160, window=window, return_complex=True)
    ours, theirs = (istft(spectrum, 400, 160, window=window) for istft in (torch.istft, ISTFT))
    assert (ours.shape, ours.stride(), ours.dtype) == (theirs.shape, theirs.stride(), theirs.dtype)
    assert msp.stats()["istft"].fast == 1 and msp.stats()["stft"].fast == 2


def test_conjugate_and_negative_views_are_resolved(signal, enabled):
    spectrum = signal.spectrum.conj()
    torch.testing.assert_close(
        torch.istft(spectrum, 400, 160, 400, signal.window),
        ISTFT(spectrum, 400, 160, 400, signal.window),
        rtol=1e-4,
        atol=1e-4,
    )
    negative = torch.complex(signal.x, signal.x).conj().imag
    assert negative.is_neg()
    ours, theirs = (stft(negative, 400, 160, 400, signal.window, return_complex=True) for stft in (torch.stft, STFT))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert msp.stats()["stft"].fast == 1 and msp.stats()["istft"].fast == 1


def test_signature_name_and_documentation_are_torchs(enabled):
    assert inspect.signature(torch.stft) == inspect.signature(STFT)
    assert torch.stft.__name__ == torch.stft.__qualname__ == "stft"
    assert torch.istft.__name__ == torch.istft.__qualname__ == "istft"
    assert torch.stft.__doc__ == STFT.__doc__ and torch.istft.__doc__ == ISTFT.__doc__
    assert inspect.getsource(torch.stft) == inspect.getsource(STFT)
    assert inspect.unwrap(torch.stft) is STFT and inspect.unwrap(torch.istft) is ISTFT
    with pytest.raises(ValueError, match="no signature found"):  # as for the builtin itself
        inspect.signature(torch.istft)


def test_help_and_documentation_tools_see_what_they_saw(on):
    """As help(), pydoc and Sphinx's autodoc look: all the same but the module, without which pickle could not work."""
    import pydoc

    def seen():
        texts = [pydoc.plain(pydoc.render_doc(getattr(torch, op))) for op in ("stft", "istft")]
        looks = [
            (inspect.isroutine(f), callable(f), inspect.getdoc(f), inspect.getmodule(inspect.unwrap(f)), f.__name__)
            for f in (torch.stft, torch.istft)
        ]
        looks += [inspect.signature(torch.stft), inspect.getfullargspec(torch.stft)]
        return [text.partition("\n")[2] for text in texts[:1]], looks

    before = seen()
    own_hints = torch.stft.__annotations__
    msp.enable(**on)
    after = seen()
    hints = torch.stft.__annotations__
    document = pydoc.render_doc(torch.istft)
    msp.disable()
    assert after == before and hints == own_hints
    assert "istft(" in document and "Inverse short time Fourier Transform" in document


def test_wraps_and_overrides_see_what_they_saw(signal, on):
    torch.overrides.get_testing_overrides.cache_clear()  # another test may have asked first, while torch was patched
    before = torch.overrides.get_overridable_functions()[torch.functional]
    testing = torch.overrides.get_testing_overrides().keys()
    msp.enable(**on)

    @functools.wraps(torch.stft)
    def wrapped(*args, **kwargs):
        return torch.stft(*args, **kwargs)

    assert wrapped.__name__ == "stft" and wrapped.__doc__ == STFT.__doc__ and inspect.unwrap(wrapped) is STFT
    assert inspect.signature(wrapped) == inspect.signature(STFT)
    assert STFT in testing and STFT in torch.overrides.get_testing_overrides()
    assert torch.overrides.get_overridable_functions()[torch.functional].count(STFT) == before.count(STFT)
    assert torch.overrides.resolve_name(STFT) == "torch.functional.stft"
    assert not torch.overrides.has_torch_function((signal.x,))
    msp.disable()


def test_pickle_copy_and_names_work_across_enable_and_disable(on):
    before = pickle.dumps(torch.stft)
    msp.enable(**on)
    ours = torch.stft
    assert pickle.loads(pickle.dumps(ours)) is ours and copy.deepcopy(torch.istft) is torch.istft
    assert pickle.loads(pickle.dumps(STFT)) is STFT and pickle.loads(before) is STFT
    pickled = pickle.dumps(ours)
    msp.disable()
    assert pickle.loads(pickled) is STFT


def test_torch_function_tables_made_before_still_match(signal, enabled):
    seen = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            seen.append((function, args[1:], kwargs))
            return super().__torch_function__(function, types, args, kwargs or {})

    spectrum = torch.stft(signal.x.as_subclass(Logged), 400, 160, 400, signal.window, return_complex=True)
    torch.istft(spectrum, 400, hop_length=160, window=signal.window)
    calls = [call for call in seen if call[0] in (STFT, ISTFT)]
    assert [call[0] for call in calls] == [STFT, ISTFT]
    assert calls[1][1] == (400,) and set(calls[1][2]) == {"hop_length", "window"}  # as given, not normalised
    assert torch.overrides.get_overridable_functions()[torch.functional].count(STFT) <= 1


def test_function_modes_see_torchs_own_functions(signal, enabled):
    seen = []

    class Logged(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Logged():
        signal.stft()
        signal.istft()
    assert STFT in seen and ISTFT in seen
    assert msp.stats()["stft"].fallback == msp.stats()["istft"].fallback == {"mode": 1}


def test_a_default_device_does_not_cost_the_fast_path(signal, torch_device, enabled):
    with torch.device(torch_device):
        assert signal.is_fast()


def test_fx_records_torchs_own_functions(enabled):
    class Round(torch.nn.Module):
        def forward(self, x):
            return torch.istft(torch.stft(x, 400, return_complex=True), 400)

    targets = [node.target for node in torch.fx.symbolic_trace(Round()).graph.nodes if node.op == "call_function"]
    assert targets == [STFT, ISTFT]


def test_torchscript_compiles_the_originals_with_their_defaults(torch_device, on):
    def forward(x: torch.Tensor, w: torch.Tensor):
        return torch.stft(x, 400, hop_length=160, window=w, return_complex=True)

    def both(x: torch.Tensor, w: torch.Tensor):
        spectrum = torch.stft(x, 400, 160, 400, w, True, "reflect", False, True, True)
        return torch.istft(spectrum, 400, 160, 400, w, center=True, length=x.shape[-1])

    class Spectrogram(torch.nn.Module):
        def forward(self, x: torch.Tensor, w: torch.Tensor):
            return torch.stft(x, 400, 160, 400, w, return_complex=True).abs()

    x, window = torch.randn(2, 4000, device=torch_device), torch.hann_window(400, device=torch_device)
    expected = forward(x, window)
    msp.enable(**on)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(forward), torch.jit.script(both), torch.jit.script(Spectrogram())
    torch.testing.assert_close(scripted[0](x, window), expected)
    torch.testing.assert_close(scripted[1](x, window), x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scripted[2](x, window), expected.abs())
    assert msp.stats()["stft"].calls == 0
    msp.disable()


def test_traced_modules_do_not_need_this_package(signal, enabled):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(
            lambda x: torch.stft(x, 400, 160, 400, signal.window, return_complex=True),
            signal.x,
            check_trace=not signal.x.is_mps,
        )  # by complex128, which is not there
    assert "aten::stft" in str(traced.graph) and "mps_spectro_patch" not in str(traced.graph)
    assert "tracing" in msp.stats()["stft"].fallback


def test_vmap_grad_and_jvp_give_the_originals_results(signal, enabled):
    def f(x):
        return torch.stft(x, 400, 160, 400, signal.window, return_complex=True).abs().square().sum()

    def g(x):
        return STFT(x, 400, 160, 400, signal.window, return_complex=True).abs().square().sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(torch.func.vmap(f)(signal.x), torch.func.vmap(g)(signal.x))
    ours, theirs = (torch.func.grad(h)(signal.x) for h in (f, g))
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6
    for ours, theirs in zip(*(torch.func.jvp(h, (signal.x,), (signal.x,)) for h in (f, g)), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert set(msp.stats()["stft"].fallback) == {"transform"}  # jvp's; vmap and grad have rules


def test_forward_mode_differentiation_gives_the_originals_tangent(signal, enabled):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(signal.x, signal.x)
        result = torch.autograd.forward_ad.unpack_dual(
            torch.stft(dual, 400, 160, 400, signal.window, return_complex=True)
        )
    torch.testing.assert_close(result.tangent, signal.spectrum, rtol=1e-4, atol=1e-4)


def test_gradients_are_the_originals(signal, enabled):
    gradients = []
    for stft, x, window in (
        (torch.stft, signal.x.clone(), signal.window),
        (STFT, signal.x.cpu().double(), signal.window.cpu().double()),
    ):
        # Squares: the gradient of a magnitude that is nearly zero is lost in float32, with torch's own function, too.
        stft(x.requires_grad_(), 400, 160, 400, window, return_complex=True).abs().square().sum().backward()
        gradients.append(x.grad)
    assert_gradient_accurate(*gradients)
    assert msp.stats()["stft"].fast == 1


def test_a_wrapper_that_hides_what_it_wraps_is_not_counted_twice(signal, on):
    msp.enable(**on)
    ours = [torch.stft]
    torch.stft = hidden = lambda *args, **kwargs: ours[0](*args, **kwargs)  # in a list: nobody can see that
    msp.disable()
    assert torch.stft is hidden and not signal.is_fast()
    msp.enable(**on)
    assert signal.is_fast()
    signal.refused()
    assert msp.stats()["stft"].fallback == {"n_fft": 1}
    msp.disable()
    assert torch.stft is hidden and not signal.is_fast()
    torch.stft = STFT


def test_a_wrapper_that_was_there_before_us_is_called_on_fallback_and_restored(signal, on):
    calls = []

    def earlier(*args, **kwargs):
        calls.append(args)
        return STFT(*args, **kwargs)

    torch.stft = earlier
    msp.enable(**on, verify="off")
    assert signal.is_fast() and not calls
    signal.refused()
    assert len(calls) == 1
    msp.disable()
    assert torch.stft is earlier
    torch.stft = STFT


def test_after_somebody_else_restored_torchs_function_enable_installs_again(signal, on):
    msp.enable(**on)
    torch.stft = STFT
    msp.enable(**on)
    assert signal.is_fast()
    msp.disable()


def test_a_reference_taken_while_enabled_is_torchs_function_afterwards(signal, on):
    msp.enable(**on)
    early = torch.stft
    msp.disable()
    early(signal.x, 400, 160, 400, signal.window, return_complex=True)
    assert msp.stats()["stft"].calls == 0


def test_the_same_function_object_is_installed_every_time(on):
    msp.enable(**on)
    first = torch.stft
    msp.disable()
    msp.enable(**on)
    assert torch.stft is first  # TorchScript's table of builtins goes by id: a freed function would poison it
    msp.disable()
    assert len([layer for layer in layers.layers() if layer.original is STFT]) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("call", [lambda: msp.enable(devices=("mps", "cuda")), msp.status])
def test_neither_enabling_nor_status_starts_a_gpu(call, monkeypatch):
    """A process that has started one cannot fork."""

    def started():
        raise AssertionError("started")

    msp.enable(devices=("mps", "cuda"))
    for module in (torch.backends.mps, torch.cuda):
        monkeypatch.setattr(module, "is_available", started)
    monkeypatch.setattr(torch.cuda, "_lazy_init", started)
    call()
    msp.disable()
