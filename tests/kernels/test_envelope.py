"""istft's envelope on the host: values, the NOLA decision, and how windows are recognised."""

import pytest
import torch

from mps_spectro_patch.kernels.tables import by_tensor
from mps_spectro_patch.kernels.tables import envelope as envelopes

CPU = torch.device("cpu")


def by_summing(window, n_fft, hop_length, frames):
    padded = torch.zeros(n_fft, dtype=torch.float64)
    left = (n_fft - window.numel()) // 2
    padded[left : left + window.numel()] = window.double()
    total = torch.zeros(n_fft + hop_length * (frames - 1), dtype=torch.float64)
    for frame in range(frames):
        total[frame * hop_length : frame * hop_length + n_fft] += padded**2
    return total


def looked_up(envelope, n_fft, hop_length, frames):
    """The table read the way the kernel reads it."""
    position = torch.arange(n_fft + hop_length * (frames - 1))
    index = envelope.head + position % hop_length
    index = torch.where(position >= envelope.tail, envelope.head + hop_length + position - envelope.tail, index)
    index = torch.where(position < envelope.head, position, index)
    return envelope.table.double()[index]


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 9, 10, 50])
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "win_length"),
    [(16, 4, 16), (16, 5, 16), (16, 3, 11), (400, 160, 400), (64, 64, 64), (16, 1, 10)],
)
def test_the_table_is_the_inverse_of_the_summed_squared_windows(n_fft, hop_length, win_length, frames):
    window = torch.rand(win_length) + 0.1
    expected = by_summing(window, n_fft, hop_length, frames)
    first = int((expected > 1e-9).nonzero()[0])
    length = int((expected > 1e-9).nonzero()[-1]) - first + 1
    envelope = envelopes.inverse_envelope(window, n_fft, hop_length, frames, first, length)
    if (expected[first : first + length] < 1e-9).any():
        assert envelope is None
        return
    got = looked_up(envelope, n_fft, hop_length, frames)
    reached = expected > 1e-9
    torch.testing.assert_close(got[reached] * expected[reached], torch.ones_like(got[reached]), rtol=1e-6, atol=0)
    assert not got[~reached].any()


@pytest.mark.parametrize("frames", [1, 3, 8, 40])
@pytest.mark.parametrize("hop_length", [3, 4, 16])
def test_the_minimum_is_that_of_the_output_samples_only(hop_length, frames):
    n_fft = 16
    window = torch.rand(n_fft)
    full = by_summing(window, n_fft, hop_length, frames)
    head, tail = envelopes.ends(n_fft, hop_length, frames)
    kept = envelopes.squared(window)._table(n_fft, hop_length, frames if head == tail else 0, False, CPU)[1]
    for first in (0, 8):
        for length in {1, 5, 17, full.numel() - first, max(1, full.numel() - 2 * first)}:
            if first + length > full.numel():
                continue
            expected = full[first : first + length].min()
            got = envelopes._between(kept, head, tail, hop_length, first, first + length).min()
            assert got == pytest.approx(float(expected), rel=1e-12)


def test_a_hann_window_without_centring_is_left_to_torch():
    window = torch.hann_window(16)
    assert envelopes.inverse_envelope(window, 16, 4, 10, 0, 40) is None
    assert envelopes.inverse_envelope(window, 16, 4, 10, 8, 36) is not None


@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_windows_without_a_usable_envelope_are_left_to_torch(bad):
    assert envelopes.inverse_envelope(torch.full((16,), bad), 16, 4, 10, 8, 36) is None


def test_a_window_is_read_back_once():
    window = torch.rand(64) + 0.5
    before = envelopes.read_backs()
    for frames in (10, 11, 500, 10):
        envelopes.inverse_envelope(window, 64, 16, frames, 32, 100)
    assert envelopes.read_backs() == before + 1


def test_an_in_place_change_is_noticed():
    window = torch.rand(64) + 0.5
    first = envelopes.inverse_envelope(window, 64, 16, 10, 32, 100).table.clone()
    window.mul_(2)
    second = envelopes.inverse_envelope(window, 64, 16, 10, 32, 100).table
    torch.testing.assert_close(second * 4, first)


def test_a_change_to_an_inference_tensor_is_noticed_although_it_has_no_version():
    with torch.inference_mode():
        window = torch.rand(64) + 0.5
        first = envelopes.inverse_envelope(window, 64, 16, 10, 32, 100).table.clone()
        window.mul_(2)
        second = envelopes.inverse_envelope(window, 64, 16, 10, 32, 100).table
    torch.testing.assert_close(second * 4, first)


def test_a_reused_address_is_not_mistaken_for_the_old_window():
    for scale in range(1, 30):
        window = torch.full((64,), float(scale))
        table = envelopes.inverse_envelope(window, 64, 64, 10, 0, 640).table
        torch.testing.assert_close(table[:64], torch.full((64,), 1.0 / scale**2))
        del window


def test_windows_that_are_gone_are_forgotten():
    alive = [torch.rand(64) + 0.5 for _ in range(40)]
    for window in alive:
        envelopes.inverse_envelope(window, 64, 16, 10, 32, 100)
    for _ in range(300):
        envelopes.inverse_envelope(torch.rand(64) + 0.5, 64, 16, 10, 32, 100)
    before, known = envelopes.read_backs(), len(envelopes.squared._known)
    for window in alive:
        envelopes.inverse_envelope(window, 64, 16, 10, 32, 100)
    assert envelopes.read_backs() == before and known < 150
    del window, alive
    for _ in range(300):
        envelopes.inverse_envelope(torch.rand(64) + 0.5, 64, 16, 10, 32, 100)
    known = envelopes.squared._known.values()
    alive = sum(not state.storage.expired() for state, _ in known)  # also of other tests
    assert len(known) <= max(by_tensor._LIMIT, 2 * alive) and alive < 300


def test_new_lengths_of_long_signals_share_one_table():
    window = torch.rand(64) + 0.5
    tables = {envelopes.inverse_envelope(window, 64, 16, f, 32, 16 * f - 16).table.data_ptr() for f in (20, 33, 4000)}
    assert len(tables) == 1


def test_a_window_comes_to_the_cpu_before_it_becomes_float64():
    """Metal has no double: a conversion on the way from an MPS tensor raises, or (torch 2.14) copies nothing at all."""

    class Window:
        _version = 0
        device = CPU
        requires_grad = False
        shape = (64,)
        untyped_storage = torch.zeros(64).untyped_storage

        def is_inference(self):
            return False

        def data_ptr(self):
            return 1

        def stride(self):
            return (1,)

        def detach(self):
            return self

        def cpu(self):
            return torch.full((64,), 2.0)

    envelope = envelopes.inverse_envelope(Window(), 64, 64, 10, 0, 640)
    torch.testing.assert_close(envelope.table[:64], torch.full((64,), 0.25))


def test_a_forgiving_envelope_leaves_samples_undivided_where_it_is_zero():
    window = torch.hann_window(16)
    envelope = envelopes.inverse_envelope(window, 16, 4, 10, 0, 40, True)
    strict = envelopes.inverse_envelope(window, 16, 4, 10, 1, 39)
    got, expected = envelope.expand(0, 40, 4), strict.expand(0, 40, 4)
    assert got[0] == 1 and expected[0] == 0 and torch.equal(got[1:], expected[1:])
    assert envelopes.inverse_envelope(torch.zeros(16), 16, 4, 10, 0, 40, True) is not None
    for bad in (float("nan"), 1e20, 1e-11**0.5):  # the last is too close to the limit for either answer
        assert envelopes.inverse_envelope(torch.full((16,), bad), 16, 16, 10, 0, 40, True) is None


def test_squares_beyond_float32_are_left_to_torch():
    assert envelopes.inverse_envelope(torch.full((64,), 1e20), 64, 16, 10, 32, 100) is None


def test_a_window_made_anew_for_every_call_finds_the_tables_of_the_last_one():
    first = envelopes.inverse_envelope(torch.hann_window(64), 64, 16, 10, 32, 100)
    assert envelopes.inverse_envelope(torch.hann_window(64), 64, 16, 10, 32, 100) is first
    assert envelopes.inverse_envelope(torch.hamming_window(64), 64, 16, 10, 32, 100) is not first
