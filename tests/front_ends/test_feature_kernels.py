"""The fused feature kernels against float64: sizes of both families, padding, hops, layouts, powers and scales."""

import pytest
import torch

from mps_spectro_patch.kernels.compilers import simulator
from mps_spectro_patch.kernels.launch import dispatch
from mps_spectro_patch.kernels.launch import features as kernels
from mps_spectro_patch.kernels.launch.features import Features
from mps_spectro_patch.kernels.plans import fft
from mps_spectro_patch.kernels.plans.geometry import PAD_MODES, StftGeometry
from mps_spectro_patch.kernels.tables.filterbank import Bands, bands_of, read_backs
from tests.tiers import some

from ..outputs import poisoned_outputs
from .reference import assert_absolute, assert_linear, away_from_the_clamp, log64, mel64, power64, spectrum64

# Parts of a simdgroup, odd half, one simdgroup, several, split exchange; odd and smooth; Bluestein odd, prime, packed.
SIZES = (50, 400, 2048, 8192, 15, 813, 997, 1218)


def random_basis(bands, bins):
    """Overlapping triangles anywhere, a band of one bin at either end, one of every width, and an empty one."""
    basis = torch.zeros(bands, bins)
    for band in range(bands):
        width = int(torch.randint(1, max(2, bins // 8), ()))
        begin = int(torch.randint(0, bins - width + 1, ()))
        basis[band, begin : begin + width] = torch.rand(width) + 0.1
    basis[0], basis[1], basis[2] = 0, 0, 0
    basis[0, 0] = basis[1, bins - 1] = 1.0
    return basis


def run(x, window, n_fft, hop_length, basis=None, pad=None, pad_mode="reflect", dropped=0, width=None, **scale):
    rows, samples = x.shape
    bins = n_fft // 2 + 1
    bands = None if basis is None else bands_of(basis.to(x.device), bins)
    assert (bands is None) == (basis is None)
    width = width or (bins if basis is None else basis.shape[0])
    pad = n_fft // 2 if pad is None else pad
    geometry = StftGeometry(rows, samples, n_fft, hop_length, window.numel(), pad, pad_mode, False)
    with poisoned_outputs():
        return kernels.features(x, window, geometry, Features(width, dropped=dropped, **scale), bands)


def check(x, window, n_fft, hop_length, basis, power=2.0, pad=None, pad_mode="reflect"):
    got = run(x, window, n_fft, hop_length, basis, pad, pad_mode, power=power)
    center = pad is None or pad > 0
    spectrum = spectrum64(x, window, n_fft, hop_length, center, pad_mode)
    assert_linear(got, basis.double() @ power64(spectrum, power))
    assert got.stride() == (got.shape[1] * got.shape[2], 1, got.shape[1])


@pytest.mark.parametrize("n_fft", SIZES)
def test_banded_products_of_either_family(n_fft, torch_device):
    bins = n_fft // 2 + 1
    x, window = torch.randn(3, 3 * n_fft + 1, device=torch_device), torch.rand(n_fft, device=torch_device) + 0.1
    check(x, window, n_fft, n_fft // 4 + 1, random_basis(min(40, bins), bins))


@pytest.mark.parametrize("power", [1.0, 1.3, 0.5])
@pytest.mark.parametrize("n_fft", [400, 813])
def test_any_power(n_fft, power, torch_device):
    x, window = torch.randn(2, 3000, device=torch_device), torch.rand(n_fft, device=torch_device)
    check(x, window, n_fft, 160, mel64(n_fft // 2 + 1, 0, 8000, 33, 16000).float(), power)


@pytest.mark.parametrize("bands", [1, 2, 31, 32, 33, 80, 201])
def test_any_number_of_bands(bands, torch_device):
    x, window = torch.randn(2, 2000, device=torch_device), torch.rand(400, device=torch_device)
    check(x, window, 400, 160, mel64(201, 0, 8000, bands, 16000).float())


@pytest.mark.parametrize("pad_mode", sorted(PAD_MODES))
def test_every_padding(pad_mode, torch_device):
    basis = {n_fft: mel64(n_fft // 2 + 1, 0, 8000, 40, 16000).float() for n_fft in (400, 813)}
    for n_fft in (400, 813):
        for samples in (n_fft // 2 + 1, n_fft, 3 * n_fft + 5):
            x, window = torch.randn(2, samples, device=torch_device), torch.rand(n_fft, device=torch_device)
            check(x, window, n_fft, n_fft // 3, basis[n_fft], pad_mode=pad_mode)


@pytest.mark.parametrize("hop_length", [1, 7, 160, 401])
def test_any_hop_and_one_frame(hop_length, torch_device):
    basis = mel64(201, 0, 8000, 40, 16000).float()
    for samples in (400, 997):
        x, window = torch.randn(2, samples, device=torch_device), torch.rand(400, device=torch_device)
        check(x, window, 400, hop_length, basis, pad=0, pad_mode="constant")


def test_signals_may_be_views_at_any_offset_and_stride(torch_device):
    storage, basis = torch.randn(5, 3007, device=torch_device), mel64(201, 0, 8000, 40, 16000).float()
    window = torch.rand(303, device=torch_device)[1:301]  # shorter than the transform
    for view in (storage[:, 1:], storage[::2, 3:2000], storage[:1].expand(3, -1), storage[:, ::2], storage[1:2, 5:]):
        check(view, window, 400, 101, basis)


def few_bands(n_fft, used):
    """Five bands in the first bins, the last one among them."""
    basis = random_basis(5, used) if used > 2 else torch.rand(5, used) + 0.1
    return torch.nn.functional.pad(basis, (0, n_fft // 2 + 1 - used))


# Of odd frames whose upper bins nobody asks for, sums and differences around the middle are transformed: n_fft, bins.
FOLDED = [(1933, 513), (1367, 513), (2047, 100), (4093, 1000), (1031, 257), (813, 20), (211, 20), (107, 9), (53, 2),
          (53, 1)]  # fmt: skip


@pytest.mark.parametrize(
    ("n_fft", "used"), some(FOLDED, [(1933, 513), (4093, 1000), (813, 20), (107, 9), (53, 2), (53, 1)])
)
def test_odd_frames_of_which_few_bins_are_asked_for(n_fft, used, torch_device):
    x, window = torch.randn(2, 2 * n_fft + 9, device=torch_device), torch.rand(n_fft, device=torch_device) + 0.1
    basis = few_bands(n_fft, used)
    bands = bands_of(basis.to(torch_device), n_fft // 2 + 1)
    assert bands.used == used
    for power, pad_mode in ((1.0, "reflect"), (2.0, "constant")):
        check(x, window, n_fft, n_fft // 3, basis, power, pad_mode=pad_mode)
    reference = power64(spectrum64(x, window, n_fft, n_fft // 2), 1.5)[:, :used]
    assert_linear(run(x, window, n_fft, n_fft // 2, width=used, power=1.5), reference)


def test_few_bins_of_odd_frames_take_shorter_transforms():
    for n_fft, used in FOLDED:
        how, whole = fft.transform(n_fft, False, used=used), fft.transform(n_fft, False)
        assert how.folded and not whole.folded and how.plan.half < whole.plan.half
        assert kernels._program(n_fft, 5, False, used).how.folded
        assert not kernels._program(n_fft, 5, True).how.folded  # a gradient is of every bin
    for n_fft, used in ((1933, None), (1933, 967), (1085, 513), (813, 400), (1290, 513), (521, 20)):
        assert not fft.transform(n_fft, False, used=used).folded


@pytest.mark.parametrize("n_fft", [1031, 211])
def test_folded_frames_in_every_padding_and_under_short_windows(n_fft, torch_device):
    assert fft.transform(n_fft, False, used=n_fft // 9).folded
    basis = few_bands(n_fft, n_fft // 9)
    for pad_mode in PAD_MODES:
        lengths = (n_fft // 2 + 1, n_fft), (n_fft, n_fft - 1), (3 * n_fft + 5, n_fft // 2), (n_fft + 3, 1)
        for samples, length in lengths:
            x = torch.randn(2, samples, device=torch_device)
            window = torch.rand(length + 1, device=torch_device)[1:] + 0.1
            check(x, window, n_fft, n_fft // 3, basis, pad_mode=pad_mode)
    x = torch.randn(3, 2 * n_fft + 1, device=torch_device)[:, 1:]
    check(x, torch.rand(n_fft, device=torch_device), n_fft, 7, basis, pad=0, pad_mode="constant")
    for dtype in (torch.float16, torch.bfloat16):
        check(x.to(dtype), torch.rand(n_fft, device=torch_device), n_fft, 101, basis)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("n_fft", "used"), [(211, 20), (521, 50), (521, 261), (542, 50), (400, 50)])
def test_what_is_no_number_stays_in_its_frames(n_fft, used, value, torch_device):
    x, window = torch.randn(1, 4 * n_fft, device=torch_device), torch.rand(n_fft, device=torch_device) + 0.1
    expected = run(x, window, n_fft, n_fft, few_bands(n_fft, used), pad=0, pad_mode="constant")
    x[0, 2 * n_fft - 1] = value  # the last sample of the second frame
    got = run(x, window, n_fft, n_fft, few_bands(n_fft, used), pad=0, pad_mode="constant", width=5)
    assert not got[..., 1].isfinite().any()
    keep = torch.tensor([0, 2, 3], device=torch_device)
    assert got[..., keep].isfinite().all() and expected.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_signals_are_read_as_they_are(dtype, torch_device):
    x, window = torch.randn(2, 2001, device=torch_device).to(dtype)[:, 1:], torch.rand(400, device=torch_device)
    check(x, window, 400, 100, mel64(201, 0, 8000, 40, 16000).float())


@pytest.mark.parametrize("scale", ["clamp", "add", "log1p"])
@pytest.mark.parametrize("n_fft", [400, 813])
def test_logarithms(n_fft, scale, torch_device):
    x, window = torch.randn(2, 4000, device=torch_device), torch.hann_window(n_fft, device=torch_device)
    x[:, :1500] *= 1e-4  # small beside amin, where log1p must not lose it
    basis, amin = mel64(n_fft // 2 + 1, 30, 8000, 20, 16000).float(), 1e-2
    got = run(x, window, n_fft, 160, basis, power=1.0, scale=scale, amin=amin, factor=3.0, offset=-1.0)
    mel = basis.double() @ power64(spectrum64(x, window, n_fft, 160), 1.0)
    assert_absolute(got, 3 * log64(mel, scale, amin) - 1, 6e-5, away_from_the_clamp(mel, 0))
    if scale == "log1p":
        quiet = slice(0, 4)  # frames of the quiet part: relative, for a result of 1e-3
        assert_linear((got + 1)[..., quiet] / 3, log64(mel, scale, amin)[..., quiet], 2e-4)


def test_values_below_the_clamp_are_the_clamp(torch_device):
    x, window = torch.zeros(1, 2000, device=torch_device), torch.hann_window(400, device=torch_device)
    got = run(x, window, 400, 160, mel64(201, 0, 8000, 20, 16000).float(), scale="clamp", amin=1e-5)
    assert torch.equal(got, torch.full_like(got, torch.tensor(1e-5).log().item()))


@pytest.mark.parametrize("n_fft, power", some([(n, p) for n in (400, 813) for p in (1.0, 2.0, 1.3)], [(400, 1.0)]))
def test_powers_have_a_floor(n_fft, power, torch_device):
    x, window = torch.randn(2, 3000, device=torch_device), torch.rand(n_fft, device=torch_device)
    square = power64(spectrum64(x, window, n_fft, 160), 2.0)
    floor = float(square.median())
    got = run(x, window, n_fft, 160, power=power, floor=floor, gain=0.7)
    assert_linear(got, 0.7 * square.clamp(min=floor) ** (power / 2))
    assert float(got.min()) == pytest.approx(0.7 * floor ** (power / 2), rel=1e-6)
    x[0, 1500] = float("nan")
    assert torch.equal(run(x, window, n_fft, 160, power=power, floor=floor).isnan(), run(x, window, n_fft, 160).isnan())


@pytest.mark.parametrize("n_fft", [400, 813])
def test_spectrograms_are_cut_or_filled_up_with_zeros(n_fft, torch_device):
    x, window = torch.randn(2, 3000, device=torch_device), torch.rand(n_fft, device=torch_device)
    bins = n_fft // 2 + 1
    reference = power64(spectrum64(x, window, n_fft, 160), 1.0, eps=1e-3) * 0.7
    for width in (1, bins - 1, bins, bins + 9):
        got = run(x, window, n_fft, 160, width=width, power=1.0, eps=1e-3, gain=0.7)
        assert_linear(got[:, :bins], reference[:, :width])
        # Beyond the spectrum there is nothing, not even eps, as after torch.nn.functional.pad.
        assert not got[:, bins:].any()


# Lanes: 1, 8, three simdgroups, a number with many odd factors (Bluestein); all in one frame each.
@pytest.mark.thorough
@pytest.mark.parametrize("n_fft", [16, 256, 2560, 4093])
def test_the_largest_feature_is_found_in_whichever_lane_it_is(n_fft, torch_device):
    bins = n_fft // 2 + 1
    tones = torch.unique(torch.linspace(0, bins - 1, 40).long())
    x = torch.cos(2 * torch.pi * tones[:, None] / n_fft * torch.arange(n_fft)) + 1e-3 * torch.randn(len(tones), n_fft)
    x, window = x.to(torch_device), torch.ones(n_fft, device=torch_device)
    geometry = StftGeometry(len(tones), n_fft, n_fft, n_fft, n_fft, 0, "constant", False)
    wanted = Features(bins, scale="clamp", amin=1e-12)
    whole = kernels.features(x, window, geometry, wanted, None)
    limited = kernels.limited_features(x, window, geometry, wanted, None, 1, 2.0)
    largest = whole.amax((1, 2), keepdim=True)
    assert torch.equal(limited, torch.maximum(whole, largest - 2.0))
    x[0, 0] = float("nan")
    assert kernels.limited_features(x, window, geometry, wanted, None, 1, 2.0).isnan().any((1, 2)).tolist() == [
        True, *[False] * (len(tones) - 1)
    ]  # fmt: skip


def test_frames_at_the_end_can_be_left_out(torch_device):
    x, window = torch.randn(2, 3200, device=torch_device), torch.rand(400, device=torch_device)
    basis = mel64(201, 0, 8000, 40, 16000).float()
    assert torch.equal(run(x, window, 400, 160, basis, dropped=1), run(x, window, 400, 160, basis)[..., :-1])


def test_nan_and_infinity_stay_in_the_frames_that_hold_them(torch_device):
    basis = mel64(201, 0, 8000, 40, 16000).float()
    x, window = torch.randn(1, 8000, device=torch_device), torch.rand(400, device=torch_device) + 0.1
    clean = run(x, window, 400, 400, basis, pad=0, scale="clamp", amin=1e-5)
    x[0, 1000], x[0, 5000] = float("nan"), float("inf")
    got = run(x, window, 400, 400, basis, pad=0, scale="clamp", amin=1e-5)
    for frame in range(got.shape[2]):
        if frame in (2, 12):
            assert not got[..., frame].isfinite().any()
        else:
            assert torch.equal(got[..., frame], clean[..., frame])


def test_the_same_input_gives_the_same_bits_in_any_batch(torch_device):
    basis = mel64(201, 0, 8000, 40, 16000).float()
    x, window = torch.randn(5, 9000, device=torch_device), torch.rand(400, device=torch_device)
    together = run(x, window, 400, 160, basis)
    assert torch.equal(together, run(x, window, 400, 160, basis))
    assert torch.equal(together[3:4], run(x[3:4], window, 400, 160, basis))


@pytest.mark.parametrize("n_fft", [50, 400, 2048, 8192, 15, 813, 1218])
def test_results_do_not_depend_on_the_order_of_threads(n_fft):
    x, window = torch.randn(2, 3 * n_fft), torch.rand(n_fft)
    basis = random_basis(12 if n_fft > 15 else 5, n_fft // 2 + 1)
    expected = run(x, window, n_fft, n_fft // 3, basis)
    for seed in range(2):
        with simulator.test_mode(seed=seed):
            assert torch.equal(run(x, window, n_fft, n_fft // 3, basis), expected)


def test_a_size_never_met_before_compiles_nothing(torch_device, monkeypatch):
    def one(n_fft):
        x, window = torch.randn(1, 3000, device=torch_device), torch.rand(n_fft, device=torch_device)
        check(x, window, n_fft, 160, mel64(n_fft // 2 + 1, 30, 8000, 20, 16000).float())

    one(1085), one(1218)
    compiled = []
    monkeypatch.setattr(dispatch, "compile_shader", lambda *_: compiled.append(1))
    one(1087), one(1214)
    assert not compiled


def test_a_basis_is_read_back_once_and_again_when_it_changes(torch_device):
    basis = (mel64(201, 0, 8000, 40, 16000) * (1 + torch.rand(()))).float().to(torch_device)  # not met before
    before, contents = read_backs(), basis.cpu().clone()
    first = bands_of(basis, 201)
    assert bands_of(basis, 201) is first and read_backs() == before + 1
    assert bands_of(basis.clone(), 201) is first  # known by contents
    basis[3] *= 2
    assert bands_of(basis, 201) is not first
    assert torch.equal(first.basis, contents)  # others with these contents still get them


def test_a_basis_whose_bands_are_not_narrow_is_none(torch_device):
    assert bands_of(torch.rand(40, 201, device=torch_device), 201) is None
    assert bands_of(torch.full((3, 201), float("nan"), device=torch_device), 201) is None
    mel = mel64(201, 0, 8000, 80, 16000).float()
    assert bands_of(mel, 201).span < 3 * 201 and bands_of(mel, 201).reach <= 3


def test_the_tables_hold_every_weight_once(torch_device):
    bands = Bands(random_basis(45, 173))
    for lanes in (1, 8, 32, 96):
        rounds, layout, weights = bands.forward_tables(lanes, torch.device("cpu"))
        assert layout.shape == (rounds + 1, lanes, 4) and not layout[rounds].any()  # that is read and not added up
        weight, rows, begin, band = layout[:rounds].reshape(-1, 4).unbind(1)
        assert weights.numel() and int(layout.min()) >= 0 and sorted(band.tolist()) == list(range(rounds * lanes))
        assert int((weight + rows * lanes).max()) < len(weights) + lanes and int((begin + rows).max()) <= 88
        assert torch.isclose(weights.sum(), bands.basis.sum()), lanes
    first, shares = bands.backward_tables(torch.device("cpu"))
    assert torch.isclose(shares.sum(), bands.basis.sum())
    assert int(first.min()) >= 0 and int(first.max()) + bands.reach <= 45
