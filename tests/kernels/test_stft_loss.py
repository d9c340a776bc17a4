"""The kernels of the STFT losses against float64: sizes, hops, windows, layouts, silence, and what is not finite."""

from __future__ import annotations

import itertools

import pytest
import torch

from mps_spectro_patch.kernels.compilers import cuda
from mps_spectro_patch.kernels.launch import dispatch, stft_loss
from mps_spectro_patch.kernels.launch.stft_loss import Terms
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import PAD_MODES, StftGeometry
from mps_spectro_patch.kernels.tables.windows import whole_window
from tests.tiers import some

from ..outputs import poisoned_outputs

AURALOSS = Terms(1.0, 1.0, 0.0, 1e-8)
KINDS = {
    "auraloss": AURALOSS,
    "all terms": Terms(0.7, 0.9, 0.5, 1e-7),
    "squared": Terms(1.0, 1.0, 1.0, 1e-2, squared=True),  # of bins that are almost zero, logarithms are rounding
    "per row": Terms(1.0, 0.5, 0.25, 1e-8, factor=2.0, added=0.1, per_row=True),
    "linear alone": Terms(0.0, 0.0, 1.0, 1e-8),
    "sums": Terms(0.5, 1.0, 1.0, 1e-8, mean=False),
}
SIZES = some((16, 18, 64, 400, 512, 1000, 1024, 2048, 4096, 8192, 16384), [400, 4096])


def by_formula(x, y, window, geometry, wanted):
    """(the loss, its terms) by torch's functions, in the precision of the signals."""

    def magnitudes(signal):
        if geometry.pad:
            signal = torch.nn.functional.pad(signal[None], (geometry.pad, geometry.pad), geometry.pad_mode)[0]
        sizes = geometry.n_fft, geometry.hop_length, geometry.win_length
        spectrum = torch.stft(signal, *sizes, window.to(signal.dtype), center=False, return_complex=True)
        return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=wanted.eps))

    x, y = magnitudes(x), magnitudes(y)
    distance = torch.nn.functional.mse_loss if wanted.squared else torch.nn.functional.l1_loss
    reduction = "mean" if wanted.mean else "sum"
    dims = (-2, -1) if wanted.per_row else None
    convergence = (torch.norm(y - x, p="fro", dim=dims) / torch.norm(y, p="fro", dim=dims)).mean()
    logs = (torch.log(wanted.factor * m + wanted.added) for m in (x, y))
    terms = [convergence, distance(*logs, reduction=reduction), distance(x, y, reduction=reduction)]
    weights = wanted.convergence, wanted.log, wanted.linear
    terms = torch.stack(
        [term if weight else torch.zeros_like(term) for term, weight in zip(terms, weights, strict=True)]
    )
    return (terms * torch.tensor(weights, dtype=terms.dtype)).sum(), terms


def geometry_of(x, n_fft, hop_length, window, center=True, pad_mode="reflect"):
    return StftGeometry(*x.shape, n_fft, hop_length, window.numel(), n_fft // 2 if center else 0, pad_mode, False)


def signals(rows, samples, device, seed=0):
    """Input and target that differ in loudness by the sample, so that few bins are equally loud in both."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, rows, samples, generator=generator)
    return x.to(device), (y * torch.linspace(0.2, 3, samples)).to(device)


def check(x, y, window, geometry, wanted, gradients=True):
    """Values within 1e-6 of float64, relatively. Gradients are as exact as the signs of differences in float32."""
    with poisoned_outputs():
        loss, terms = stft_loss.stft_loss(x, y, window, geometry, wanted)
    wide = x.cpu().double().requires_grad_()
    expected, expected_terms = by_formula(wide, y.cpu().double(), window.cpu(), geometry, wanted)
    exact = 1e-5 if wanted.squared else 1e-6  # the square of a logarithm of one bin that is almost zero outweighs all
    torch.testing.assert_close(loss.cpu().double(), expected.detach(), rtol=exact, atol=1e-9)
    torch.testing.assert_close(terms[:3].cpu().double(), expected_terms.detach(), rtol=exact, atol=1e-9)
    if not gradients:
        return
    given = torch.tensor([1.5, 0.5, -0.25, 0.75])
    of_loss, of_terms = given[0].to(x.device), torch.cat([given[1:], torch.zeros(terms.numel() - 3)]).to(x.device)
    with poisoned_outputs():
        got = stft_loss.stft_loss_gradient(of_loss, of_terms, terms, x, y, window, geometry, wanted)
    (given[0] * expected + (given[1:] * expected_terms).sum()).backward()
    error = (got.cpu().double() - wide.grad).norm() / wide.grad.norm()
    assert error < (1e-2 if not wanted.squared else 1e-3), float(error)


@pytest.mark.parametrize("n_fft", SIZES)
def test_every_size_with_an_odd_hop(n_fft, torch_device):
    assert stft_loss.supports_stft_loss(n_fft)
    x, y = signals(2, 2 * n_fft + 1, torch_device)
    window = torch.rand(n_fft, device=torch_device) + 0.1
    check(x, y, window, geometry_of(x, n_fft, n_fft // 3 | 1, window), KINDS["squared"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 3])
def test_every_kind_of_loss_and_a_window_shorter_than_the_frame(kind, rows, torch_device):
    x, y = signals(rows, 1501, torch_device)
    window = torch.hann_window(300, device=torch_device)
    check(x, y, window, geometry_of(x, 400, 120, window), KINDS[kind])


@pytest.mark.parametrize(
    "pad_mode, center", [("reflect", True), ("replicate", True), ("circular", True), ("reflect", False)]
)
@pytest.mark.parametrize(
    "win_length, hop_length",
    some([(300, 70), (151, 40), (64, 20), (3, 2), (100, 150), (399, 399)], [(151, 40), (100, 150)]),
)
def test_what_a_window_covers_is_all_that_is_added_up(win_length, hop_length, pad_mode, center, torch_device):
    x, y = signals(3, 1501, torch_device)
    window = torch.rand(win_length, device=torch_device) + 0.1
    geometry = geometry_of(x, 400, hop_length, window, center, pad_mode)
    check(x, y, window, geometry, KINDS["squared"])
    given = x, y, whole_window(window, 400), geometry, KINDS["squared"]
    loss, terms = stft_loss.stft_loss(*given)
    assert torch.equal(terms, stft_loss.stft_loss(x, y, window, *given[3:])[1])
    gradients = (
        stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, x, y, one, *given[3:])
        for one in (window, given[2])
    )
    assert torch.equal(*gradients)


def test_a_whole_window_is_made_once_and_again_after_a_change(torch_device):
    window = torch.rand(5, device=torch_device)
    whole = whole_window(window, 12)
    assert torch.equal(whole[3:8], window) and not whole[:3].any() and not whole[8:].any()
    assert whole_window(window, 12) is whole and whole_window(window, 13) is not whole
    assert whole_window(window, 5) is window
    window.mul_(2)
    assert torch.equal(whole_window(window, 12)[3:8], window) and torch.equal(whole[3:8] * 2, window)
    with torch.inference_mode():
        changing = window.clone()
        first = whole_window(changing, 12)
        assert not whole_window(window, 14).is_inference()  # a later call may want gradients
        changing.mul_(2)
        assert torch.equal(whole_window(changing, 12), first * 2)


def test_quotients_of_any_size_are_summed_up(torch_device):
    """Logarithms are taken of products, which may be too large for a number."""
    x = torch.randn(2, 800, device=torch_device)
    window = torch.hann_window(64, device=torch_device)
    for a, b in ((x * 1e14, x * 1e-8), (x * 1e-8, x * 1e14), (x * 1e15, torch.zeros_like(x))):
        check(a, b, window, geometry_of(x, 64, 16, window), Terms(0.0, 1.0, 0.0, 1e-30), gradients=False)


def test_the_gradient_of_absolute_distances_is_that_of_float64(torch_device):
    """Where no two magnitudes are so close that float32 sees their difference the other way around."""
    window = torch.hann_window(400, device=torch_device)
    x = torch.randn(2, 1500, device=torch_device)
    y = x * 1.5 + 0.01 * torch.randn(2, 1500, device=torch_device)
    geometry = geometry_of(x, 400, 100, window)
    for wanted in (Terms(0.0, 0.0, 1.0, 1e-8), Terms(1.0, 0.0, 1.0, 1e-8, per_row=True)):
        loss, terms = stft_loss.stft_loss(x, y, window, geometry, wanted)
        wide = x.cpu().double().requires_grad_()
        by_formula(wide, y.cpu().double(), window.cpu(), geometry, wanted)[0].backward()
        got = stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, x, y, window, geometry, wanted)
        assert (got.cpu().double() - wide.grad).norm() / wide.grad.norm() < 2e-5


@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
def test_every_padding(pad_mode, torch_device):
    window = torch.hann_window(64, device=torch_device)
    for samples in (33, 64, 201):
        x, y = signals(2, samples, torch_device)
        check(x, y, window, geometry_of(x, 64, 21, window, pad_mode=pad_mode), KINDS["squared"])


def test_one_frame_many_rows_and_hops_beyond_the_frame(torch_device):
    window = torch.hann_window(64, device=torch_device)
    for rows, samples, hop_length in ((1, 64, 16), (40, 64, 16), (3, 500, 100), (1100, 70, 7)):
        x, y = signals(rows, samples, torch_device)
        for kind in ("squared", "per row"):
            geometry = geometry_of(x, 64, hop_length, window, center=False)
            check(x, y, window, geometry, KINDS[kind], gradients=kind == "squared")


def test_a_long_row_is_summed_up_as_exactly(torch_device):
    x, y = signals(1, 60_001, torch_device)
    window = torch.hann_window(48, device=torch_device)
    check(x, y, window, geometry_of(x, 64, 5, window), KINDS["all terms"], gradients=False)


def test_signals_may_be_views_at_any_offset_and_stride(torch_device):
    storage = torch.randn(2, 5, 1207, device=torch_device)
    window = torch.rand(70, device=torch_device)[3:67]
    for x, y in (
        (storage[0, ::2, 1:1000], storage[1, :3, 2:1001]),
        (storage[0, :3, 1:1201:3], storage[1, 2:, 400:800]),
        (storage[0, :1].expand(3, -1), storage[1, :3]),
    ):
        check(x, y, window, geometry_of(x, 64, 16, window), KINDS["squared"])


def test_silence_has_a_loss_and_no_gradient(torch_device):
    """Magnitudes raised to eps are equal, and nothing goes back through them."""
    window = torch.hann_window(64, device=torch_device)
    silence, noise = torch.zeros(2, 300, device=torch_device), torch.randn(2, 300, device=torch_device)
    geometry = geometry_of(silence, 64, 16, window)
    for wanted in (AURALOSS, KINDS["per row"], KINDS["squared"]):
        for x, y in ((silence, silence), (silence, noise), (noise, silence), (noise, noise)):
            loss, terms = stft_loss.stft_loss(x, y, window, geometry, wanted)
            expected, _ = by_formula(x.cpu().double(), y.cpu().double(), window.cpu(), geometry, wanted)
            torch.testing.assert_close(loss.cpu().double(), expected, rtol=2e-6, atol=1e-9)
            got = stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, x, y, window, geometry, wanted)
            assert got.isfinite().all() and bool(got.any()) == (x is noise and y is silence)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["auraloss", "per row", "linear alone"])
def test_what_is_not_finite_stays_where_torch_has_it(value, kind, torch_device):
    wanted = KINDS[kind]
    window = torch.hann_window(64, device=torch_device)
    for which in (0, 1):
        x, y = signals(2, 400, torch_device)
        (x, y)[which][1, 200] = value
        geometry = geometry_of(x, 64, 16, window)
        loss, terms = stft_loss.stft_loss(x, y, window, geometry, wanted)
        narrow = x.cpu().requires_grad_()
        expected, expected_terms = by_formula(narrow, y.cpu(), window.cpu(), geometry, wanted)
        # Of an infinite sample an FFT makes infinite and undefined bins, each FFT others.
        for found, right in ((loss, expected), (terms[:3], expected_terms)):
            where = right.isfinite()
            assert torch.equal(found.cpu().isfinite(), where)
            torch.testing.assert_close(found.cpu()[where], right.detach()[where], rtol=1e-5, atol=0)
        expected.backward()
        got = stft_loss.stft_loss_gradient(torch.ones_like(loss), None, terms, x, y, window, geometry, wanted)
        if value != value:
            assert torch.equal(got.cpu().isfinite(), narrow.grad.isfinite())
        elif kind != "auraloss":  # whose norms are over both rows
            assert got[0].isfinite().all() and narrow.grad[0].isfinite().all()


def test_the_same_bits_every_time(torch_device):
    x, y = signals(3, 3000, torch_device)
    window = torch.hann_window(400, device=torch_device)
    geometry = geometry_of(x, 400, 100, window)

    def run():
        loss, terms = stft_loss.stft_loss(x, y, window, geometry, KINDS["all terms"])
        given = torch.ones_like(loss), None, terms, x, y, window, geometry, KINDS["all terms"]
        return loss, terms, stft_loss.stft_loss_gradient(*given)

    first = run()
    for _ in range(2):
        assert all(torch.equal(one, other) for one, other in zip(first, run(), strict=True))


def test_no_gradient_is_read_that_is_not_given(torch_device):
    x, y = signals(2, 500, torch_device)
    window = torch.hann_window(64, device=torch_device)
    given = x, y, window, geometry_of(x, 64, 16, window), KINDS["squared"]
    loss, terms = stft_loss.stft_loss(*given)
    one, none = torch.ones_like(loss), torch.zeros_like(terms)
    one_term = none.clone()
    one_term[1] = 1
    both = stft_loss.stft_loss_gradient(one, none, terms, *given)
    assert torch.equal(both, stft_loss.stft_loss_gradient(one, None, terms, *given))
    both = stft_loss.stft_loss_gradient(one * 0, one_term, terms, *given)
    assert torch.equal(both, stft_loss.stft_loss_gradient(None, one_term, terms, *given))


def mean_of(x, y, sizes, kinds, center=True, pad_mode="reflect", upstream=1.0):
    """(the mean of the losses, their terms, the copied target, the gradient for `upstream`) by the kernels, and in
    float64 the mean, the terms and the gradient."""
    windows = [torch.rand(win_length, device=x.device) + 0.1 for _, _, win_length in sizes]
    wholes = [whole_window(window, n_fft) for window, (n_fft, _, _) in zip(windows, sizes, strict=True)]
    calls = [
        (geometry_of(x, n_fft, hop_length, window, center, pad_mode), kind)
        for window, (n_fft, hop_length, _), kind in zip(windows, sizes, kinds, strict=True)
    ]
    with poisoned_outputs():
        found = stft_loss.ready_mean(x, y, wholes, calls, copies=True)(x, y, wholes)
        _, terms, copy = found
        given = torch.full((1,), upstream, device=x.device), terms, x, copy, wholes
        gradient = stft_loss.ready_mean_gradient(x, copy, wholes, calls)(*given)
    wide = x.cpu().double().requires_grad_()
    losses = [
        by_formula(wide, y.cpu().double(), window.cpu(), *call) for window, call in zip(windows, calls, strict=True)
    ]
    mean = sum(loss for loss, _ in losses) / len(losses)
    (upstream * mean).backward()
    return (*found, gradient), (mean.detach(), [one.detach() for _, one in losses], wide.grad)


def check_mean(x, y, sizes, kinds, **more):
    (loss, terms, copy, gradient), (mean, terms_of_each, wide_gradient) = mean_of(x, y, sizes, kinds, **more)
    assert loss.shape == () and torch.equal(copy, y) and copy.is_contiguous()
    torch.testing.assert_close(loss.cpu().double(), mean, rtol=1e-5, atol=1e-9)
    parts = terms.cpu().double().split([3 + (x.shape[0] if kind.per_row else 1) for kind in kinds])
    for part, right in zip(parts, terms_of_each, strict=True):
        torch.testing.assert_close(part[:3], right, rtol=1e-5, atol=1e-9)
    error = (gradient.cpu().double() - wide_gradient).norm() / wide_gradient.norm()
    assert error < 1e-3, float(error)


OVERLAPS = [(400, 100, 300), (64, 100, 64), (4096, 2000, 4096), (16384, 3000, 16384), (18, 7, 10)]


@pytest.mark.thorough
@pytest.mark.parametrize("first, second", list(itertools.product(OVERLAPS, repeat=2)))
def test_a_gradient_is_added_to_what_is_there_however_frames_overlap(first, second, torch_device):
    """Of every way of adding frames up, before and behind every other, with gaps between frames, too."""
    assert {stft_loss.launched(size[0], True, AURALOSS)[2].overlap for size in OVERLAPS} == {"gather", "ring", "device"}
    x, y = signals(1, 17_001, torch_device)
    check_mean(x, y, [first, second], 2 * [KINDS["squared"]], upstream=-0.75)


@pytest.mark.parametrize("rows", some([1, 3], [3]))
@pytest.mark.parametrize("count", some([1, 3, 16, 35], [3]))
def test_a_mean_of_any_number_of_losses_and_its_gradient_for_what_comes_from_above(rows, count, torch_device):
    x, y = signals(rows, 901, torch_device)
    every = [(64, 16, 48), (128, 50, 128), (30, 7, 30), (100, 25, 60)]
    kinds = (
        KINDS["squared"],
        Terms(0.7, 0.5, 1.0, 1e-2, squared=True, per_row=True),
        Terms(1.0, 0.0, 2.0, 1e-2, squared=True),
    )
    numbers = range(count)
    sizes, kinds = [every[number % 4] for number in numbers], [kinds[number % 3] for number in numbers]
    check_mean(x, y, sizes, kinds, upstream=2.5)


@pytest.mark.thorough
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
def test_ends_of_rows_are_added_to_what_is_there(pad_mode, center, torch_device):
    for samples in (33, 64, 333):
        if center or samples >= 64:
            x, y = signals(2, samples, torch_device)
            sizes = [(64, 21, 64), (32, 9, 20), (64, 16, 33)]
            check_mean(x, y, sizes, 3 * [KINDS["squared"]], center=center, pad_mode=pad_mode)


def test_the_copy_of_the_target_has_the_bits_of_every_sample_and_no_gaps(torch_device):
    chunk = stft_loss.COPIED * stft_loss.FINISH_THREADS
    window, storage = torch.hann_window(64, device=torch_device), torch.randn(3, 2 * chunk + 90, device=torch_device)
    storage[1, 5:9] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-42])
    for samples in (64, chunk - 1, chunk, chunk + 1, 2 * chunk + 3):
        for target in (storage[:, 2 : samples + 2], storage[:1, 3 : samples + 3].expand(3, -1)):
            call = geometry_of(target, 64, 64, window), AURALOSS
            with poisoned_outputs():
                copy = stft_loss.ready_mean(target, target, [window], [call], copies=True)(target, target, [window])[2]
            assert copy.stride() == (samples, 1)
            assert torch.equal(copy.view(torch.int32), target.contiguous().view(torch.int32))


def test_a_mean_that_copies_nothing_is_the_same(torch_device):
    x, y = signals(2, 500, torch_device)
    window = torch.hann_window(64, device=torch_device)
    calls = [(geometry_of(x, 64, hop_length, window), AURALOSS) for hop_length in (16, 20)]
    with_copy, without = (
        stft_loss.ready_mean(x, y, [window] * 2, calls, copies=copies)(x, y, [window] * 2) for copies in (True, False)
    )
    assert torch.equal(with_copy[0], without[0]) and torch.equal(with_copy[1], without[1]) and without[2] is None


@pytest.mark.thorough
def test_a_mean_has_the_same_bits_every_time(torch_device):
    x, y = signals(3, 3000, torch_device)
    sizes = [(400, 100, 400), (64, 16, 64), (1024, 120, 600)]
    torch.manual_seed(1)
    first = mean_of(x, y, sizes, 3 * [KINDS["all terms"]])[0]
    for _ in range(2):
        torch.manual_seed(1)
        assert all(map(torch.equal, first, mean_of(x, y, sizes, 3 * [KINDS["all terms"]])[0]))


def test_threadgroups_are_whole_simdgroups_and_leave_room_for_their_sums():
    for n_fft in fft.supported_sizes():
        for gradient in (False, True):
            name, _, plan = stft_loss.launched(n_fft, gradient, AURALOSS)
            assert plan.threads % 32 == 0 and plan.threads <= 1024 and plan.threadgroup_bytes <= 32_768, name
        _, _, plan = stft_loss.launched(n_fft, False, AURALOSS)
        exchange = plan.frames * plan.exchange_size * (4 if plan.split else 8)
        assert exchange >= plan.threads // 32 * 16  # four numbers of each simdgroup


@pytest.mark.parametrize("n_fft, gradient", some([(18, True), (1024, False), (1024, True), (8192, True)], [(18, True)]))
def test_they_become_machine_code(n_fft, gradient, nvrtc):
    name, defines, _ = stft_loss.launched(n_fft, gradient, AURALOSS)
    text = cuda.unit(cuda.translation(dispatch.kernel_text(name, defines)))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


def test_the_last_launch_becomes_machine_code(nvrtc):
    text = cuda.unit(cuda.translation(dispatch.kernel_text("msp_stft_loss_finish")))
    assert cuda.compile_unit(text, (9, 0)).startswith(b"\x7fELF")


def test_the_text_keeps_to_the_metal_subset():
    for (n_fft, gradient), kind in itertools.product(((64, False), (8192, True)), KINDS):
        text = dispatch.kernel_text(*stft_loss.launched(n_fft, gradient, KINDS[kind])[:2])
        text += dispatch.kernel_text("msp_stft_loss_finish")
        assert text.isascii()
        for word in ("double", "atomic_", "sin(", "cos(", "if constexpr", "auto ", "[&]", "[=]"):
            assert word not in text.replace("metal::", ""), word
