"""msp.stft and msp.istft: torch's numbers with mps-spectro's conventions."""

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.execution import quarantine

STFT, ISTFT = torch.functional.stft, torch._VF.istft


def hann64(win_length):
    return torch.hann_window(win_length, dtype=torch.float64)


def accurate(got, expected, bound=3e-7):
    got = got.detach().cpu().to(expected.dtype)
    assert got.shape == expected.shape
    assert float((got - expected).abs().square().sum().sqrt() / expected.abs().square().sum().sqrt()) <= bound


@pytest.fixture
def strict(device_name):
    with msp.accelerated(devices=(device_name,), on_error="raise", on_fallback="raise"):
        msp.reset_stats()
        yield


@pytest.mark.parametrize("shape", [(4000,), (2, 4000)])
@pytest.mark.parametrize("win_length", [None, 300])
@pytest.mark.parametrize("center, normalized, onesided", [(True, False, True), (False, True, False)])
def test_a_missing_window_is_a_periodic_hann_window(
    shape, win_length, center, normalized, onesided, torch_device, strict
):
    x = torch.randn(shape, device=torch_device)
    options = dict(center=center, normalized=normalized, onesided=onesided)
    got = msp.stft(x, n_fft=400, win_length=win_length, **options)
    expected = STFT(x.cpu().double(), 400, 100, win_length, hann64(win_length or 400), return_complex=True, **options)
    accurate(got, expected)
    assert msp.stats()["stft"].fast == 1


@pytest.mark.parametrize("win_length, length", [(None, None), (None, 5000), (320, None), (320, 3900)])
def test_istft_inverts_it_for_any_window_length(win_length, length, torch_device, strict):
    x = torch.randn(2, 4000, device=torch_device)
    spec = msp.stft(x, n_fft=400, win_length=win_length)
    got = msp.istft(spec, win_length=win_length, length=length)
    size = 4000 if length is None else length
    assert got.shape == (2, size)
    common = min(size, 3900)
    torch.testing.assert_close(got[:, :common], x[:, :common], rtol=1e-4, atol=1e-5)
    if size > 4300:
        assert not got[:, 4300:].any()
    assert msp.stats()["istft"].fast == 1


@pytest.mark.parametrize("options", [
    dict(normalized=True), dict(onesided=False), dict(hop_length=130), dict(n_fft=400, torch_like=True),
    dict(safety="always"), dict(safety="off"), dict(allow_fused=False), dict(long_mode_strategy="torch_fallback"),
    dict(kernel_dtype="float16"), dict(kernel_dtype="mixed"), dict(kernel_layout="native"),
    dict(kernel_layout="transposed"),
])  # fmt: skip
def test_every_argument_of_the_seed_package_is_taken(options, torch_device, device_name):
    x = torch.randn(2, 4000, device=torch_device)
    forward = {name: options[name] for name in ("normalized", "onesided", "hop_length") if name in options}
    with msp.accelerated(devices=(device_name,)):
        spec = msp.stft(x, n_fft=400, **forward)
        msp.reset_stats()
        got = msp.istft(spec, length=3900, **options)
        assert msp.stats()["istft"].fast == (options.get("allow_fused", True) is True)
    torch.testing.assert_close(got, x[:, :3900], rtol=1e-4, atol=1e-5)


def test_long_mode_leaves_long_outputs_to_torch(torch_device, device_name):
    spec = torch.randn(201, 9, dtype=torch.complex64, device=torch_device)
    with msp.accelerated(devices=(device_name,)):
        msp.reset_stats()
        fallback = msp.istft(spec, length=2000, long_mode_strategy="torch_fallback")
        assert msp.stats()["istft"].fast == 0
        custom = msp.istft(spec, length=2000)
        assert msp.stats()["istft"].fast == 1
    torch.testing.assert_close(fallback[:900], custom[:900], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fallback, custom, rtol=1e-2, atol=1e-1)  # divided by next to nothing, at the end


@pytest.mark.parametrize("option", ["safety", "long_mode_strategy", "kernel_dtype", "kernel_layout"])
def test_unknown_modes_are_named(option):
    with pytest.raises(ValueError, match=f"{option}='other'"):
        msp.istft(torch.randn(201, 9, dtype=torch.complex64), **{option: "other"})


def test_an_envelope_of_zeros_raises_only_when_torch_like(torch_device, device_name):
    spec = torch.randn(2, 201, 9, dtype=torch.complex64, device=torch_device)
    options = dict(hop_length=400, center=False)  # a Hann window is zero where the next one begins
    with msp.accelerated(devices=(device_name,)):
        with pytest.raises(RuntimeError, match="window overlap add min"):
            msp.istft(spec, torch_like=True, **options)
        for forgiving in (dict(), dict(torch_like=True, safety="off")):
            got = msp.istft(spec, **options, **forgiving)
            window = hann64(400)
            frames = torch.fft.irfft(spec.cpu().to(torch.complex128), 400, dim=1) * window.unsqueeze(1)
            envelope = window.square().unsqueeze(1)
            expected = torch.where(envelope > 1e-11, frames / envelope, frames).transpose(1, 2).reshape(2, -1)
            # Where the envelope is 1e-9, float32 leaves three digits.
            accurate(got, expected, 1e-3)
            assert not got[:, ::400].any()
        short = msp.istft(spec[0], length=700, **options)
        assert short.shape == (700,)
        assert msp.istft(spec, length=5000, **options)[:, 3600:].abs().sum() == 0


@pytest.mark.parametrize("hop_length", [100, 400])
def test_gradients_are_finite_where_no_window_reaches(hop_length, torch_device, device_name):
    spec = torch.randn(2, 201, 7, dtype=torch.complex64, device=torch_device)
    window = torch.hann_window(400, device=torch_device)
    weight = torch.randn(2, 400 + 6 * hop_length, device=torch_device)

    def gradients(spec, window, weight):
        leaves = spec.detach().requires_grad_(), window.detach().requires_grad_()
        signal = msp.istft(leaves[0], n_fft=400, hop_length=hop_length, window=leaves[1], center=False)
        return torch.autograd.grad((signal * weight).sum(), leaves)

    with msp.accelerated(devices=(device_name,)):
        got = gradients(spec, window, weight)
    assert all(bool(torch.view_as_real(one.to(torch.complex64)).isfinite().all()) for one in got)
    # Of float64: the same sums where a window reaches, none where none does.
    places = hop_length * torch.arange(7)[:, None] + torch.arange(400)
    wide = window.cpu().double()
    envelope = torch.zeros(400 + 6 * hop_length, dtype=torch.float64).index_add(
        0, places.flatten(), wide.square().repeat(7)
    )
    shares = weight.cpu().double() / torch.where(envelope > 1e-11, envelope, 1.0)
    expected = torch.fft.rfft(shares[:, places].transpose(1, 2) * wide[:, None], dim=1) / 400
    expected[:, 1:-1] *= 2
    expected.imag[:, [0, -1]] = 0
    accurate(got[0], expected, 1e-6)


def test_windows_and_precisions(torch_device, strict):
    x, window = torch.randn(2, 4000, device=torch_device), torch.rand(400) + 0.1
    got = msp.stft(x.half(), n_fft=400, window=window.double(), pad_mode="constant")
    expected = STFT(x.half().cpu().double(), 400, 100, 400, window.double(), pad_mode="constant", return_complex=True)
    assert got.dtype is torch.complex64 and got.device == x.device
    accurate(got, expected)
    if torch_device.type == "cpu":
        assert msp.stft(x.double(), n_fft=400).dtype is torch.complex64


def test_gradients_go_through(torch_device, strict):
    x = torch.randn(2, 4000, device=torch_device, requires_grad=True)
    msp.istft(msp.stft(x, n_fft=400), length=3900).square().sum().backward()
    torch.testing.assert_close(x.grad[:, 400:3500], 2 * x.detach()[:, 400:3500], rtol=1e-3, atol=1e-4)


def test_outside_of_enable_torch_does_it_on_devices_other_than_mps(torch_device, device_name):
    x = torch.randn(2, 4000, device=torch_device)
    msp.reset_stats()
    accurate(msp.stft(x, n_fft=400), STFT(x.cpu().double(), 400, 100, 400, hann64(400), return_complex=True))
    assert msp.stats()["stft"].fast == (device_name == "mps")


def test_wrong_arguments_give_torchs_errors(torch_device):
    with pytest.raises(TypeError, match="floating-point"):
        msp.stft(torch.arange(4000), n_fft=400)
    with pytest.raises(ValueError, match="complex tensor"):
        msp.istft(torch.randn(201, 9))
    with pytest.raises(RuntimeError, match="stft"):
        msp.stft(torch.randn(2, 3, 4000), n_fft=400)
    with pytest.raises(RuntimeError, match="window"):
        msp.stft(torch.randn(4000), n_fft=400, window=torch.ones(399))


def same64(spec, n_fft, hop_length, win_length):
    """Vocos' definition in float64, for windows of any length."""
    left, cut = (n_fft - win_length) // 2, (win_length - hop_length) // 2
    window = hann64(win_length)
    frames = torch.fft.irfft(spec, n_fft, dim=-2)[..., left : left + win_length, :] * window.unsqueeze(1)
    covered = win_length + hop_length * (spec.shape[-1] - 1)
    signal, envelope = spec.real.new_zeros((*spec.shape[:-2], covered)), torch.zeros(covered, dtype=torch.float64)
    for frame in range(spec.shape[-1]):
        at = slice(frame * hop_length, frame * hop_length + win_length)
        signal[..., at] += frames[..., frame]
        envelope[at] += window.square()
    inner = slice(cut, covered - cut)
    return signal[..., inner] / torch.where(envelope > 1e-11, envelope, 1.0)[inner]


@pytest.mark.parametrize(
    "n_fft, hop_length, win_length, shape",
    [
        (400, 100, 400, (2, 9)), (64, 15, 60, (2, 9)), (400, 160, 320, (9,)),
        *(pytest.param(*case, marks=pytest.mark.thorough) for case in (
            (1024, 256, 1024, (9,)), (1922, 480, 1922, (2, 5)), (64, 64, 64, (2, 5)), (63, 20, 63, (2, 9)),
            (400, 100, 400, (1, 1)),
        )),
    ],
)  # fmt: skip
def test_same_padding_is_that_of_vocos_in_one_launch(n_fft, hop_length, win_length, shape, torch_device, strict):
    wide = torch.randn(*shape[:-1], n_fft // 2 + 1, shape[-1], dtype=torch.complex128)
    spec = wide.to(torch.complex64).to(torch_device)
    got = msp.istft(spec, n_fft=n_fft, hop_length=hop_length, win_length=win_length, padding="same")
    expected = same64(spec.cpu().to(torch.complex128), n_fft, hop_length, win_length)
    assert got.shape[-1] == shape[-1] * hop_length + (win_length - hop_length) % 2
    accurate(got, expected, 1e-3 if hop_length == win_length or shape[-1] == 1 else 1e-6)
    assert msp.stats()["istft"].fast == 1


def test_same_padding_without_kernels_is_the_same(torch_device):
    spec = torch.randn(2, 201, 9, dtype=torch.complex64, device=torch_device)
    options = dict(hop_length=160, win_length=320, padding="same")
    got = msp.istft(spec, allow_fused=False, **options)
    accurate(got, same64(spec.cpu().to(torch.complex128), 400, 160, 320), 1e-6)
    accurate(msp.istft(spec.cpu(), **options), got.cpu().double(), 1e-6)
    long = msp.istft(spec, length=2000, allow_fused=False, **options)
    assert long.shape == (2, 2000) and torch.equal(long[:, :1440], got) and not long[:, 1680:].any()


def test_center_padding_by_name(torch_device, strict):
    spec = torch.randn(201, 9, dtype=torch.complex64, device=torch_device)
    assert torch.equal(msp.istft(spec, center=False, padding="center"), msp.istft(spec))


@pytest.mark.thorough
@pytest.mark.parametrize("options", [dict(padding="same"), dict(padding="same", length=1100), dict(center=False)])
def test_gradients_of_a_forgiving_istft_are_those_of_float64(options, torch_device, device_name, strict):
    spec = torch.randn(2, 33, 17, dtype=torch.complex64, device=torch_device)
    window = torch.hann_window(64, device=torch_device)

    def gradients(spec, window, weight=None, **more):
        leaves = spec.detach().requires_grad_(), window.detach().requires_grad_()
        signal = msp.istft(leaves[0], hop_length=64, window=leaves[1], **options, **more)
        return torch.autograd.grad((signal * weight[:, : signal.shape[-1]]).sum(), leaves)

    weight = torch.randn(2, 1200, device=torch_device)
    got = gradients(spec, window, weight)
    assert msp.stats()["istft"].fast == 1
    expected = gradients(spec, window, weight, allow_fused=False)
    for one, right in zip(got, expected, strict=True):
        assert bool(torch.view_as_real(one.to(torch.complex64)).isfinite().all())
        accurate(one, right.cpu(), 2e-3)  # where the envelope is 1e-9, float32 leaves three digits


def test_what_torch_refuses_is_refused_with_same_padding(torch_device):
    spec = torch.randn(2, 33, 9, dtype=torch.complex64, device=torch_device)
    for options in (
        dict(hop_length=0), dict(hop_length=65), dict(win_length=70), dict(n_fft=62), dict(window=torch.ones(63)),
        dict(length=0), dict(hop_length=64, torch_like=True), dict(hop_length=2.0),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="istft"):
            msp.istft(spec, padding="same", **options)
    assert msp.istft(spec, padding="same", torch_like=True).shape == (2, 9 * 16)
    with pytest.raises(ValueError, match="padding='valid'"):
        msp.istft(spec, padding="valid")


@pytest.mark.thorough
def test_a_compiled_istft_knows_same_padding_and_forgives(torch_device, device_name):
    spec = torch.randn(2, 33, 9, dtype=torch.complex64, device=torch_device)
    for options in (dict(padding="same"), dict(padding="same", hop_length=64), dict(center=False)):
        with msp.accelerated(devices=(device_name,)):
            expected = msp.istft(spec, **options)
        compiled = torch.compile(lambda spec, options=options: msp.istft(spec, **options), backend="aot_eager")
        msp.enable(devices=(device_name,))
        try:
            torch.testing.assert_close(compiled(spec), expected)
        finally:
            msp.disable()
        if options.get("padding"):
            torch._dynamo.reset()
            torch.testing.assert_close(compiled(spec), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("smooth", [True, False])
def test_a_large_istft_with_same_padding_is_compared_at_both_ends(smooth, torch_device, device_name, strict):
    n_fft = 400 if smooth else 402
    spec = torch.randn(3, n_fft // 2 + 1, 700, dtype=torch.complex64, device=torch_device)
    got = msp.istft(spec, hop_length=100, padding="same")
    assert msp.stats()["istft"].fast == 1 and not quarantine.plans
    accurate(got, same64(spec.cpu().to(torch.complex128), n_fft, 100, n_fft), 1e-6)
