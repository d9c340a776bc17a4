"""Threads and processes: calls are never routed by half-changed options, and children keep what their parents had."""

from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

import mps_spectro_patch as msp
from mps_spectro_patch.reasons import FallbackError, Reason


def in_threads(*loops, seconds: float = 0.7) -> None:
    """Runs the loops, each in a thread, until the time is over; raises what they raised."""
    stop, errors = threading.Event(), []

    def watched(loop):
        try:
            while not stop.is_set():
                loop()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=watched, args=(loop,)) for loop in loops]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so often that what can come between two steps does
    try:
        for thread in threads:
            thread.start()
        stop.wait(seconds)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


def test_no_call_is_routed_by_half_of_one_set_of_options_and_half_of_another(signal, on, threads):
    """Strict and accelerated, or neither: a fallback that is counted on the device without an error is a mixture."""
    refused = []

    def change():
        msp.enable(**on, on_fallback="raise", verify="off")
        msp.enable(devices=(), on_fallback="quiet")

    def call():
        try:
            torch.stft(signal.x.double(), 400, window=signal.window.double(), return_complex=True)
        except FallbackError:
            refused.append(1)  # append is atomic

    msp.enable(devices=())
    in_threads(change, call, call)
    msp.disable()
    assert set(msp.stats()["stft"].fallback) <= {Reason.DTYPE, Reason.DEVICE}
    assert msp.stats()["stft"].fallback.get(Reason.DTYPE, 0) == len(refused) > 0


@pytest.mark.parametrize("reach", ["attribute", "references"])
def test_scopes_of_many_threads_do_not_touch_one_another(reach, signal, on, threads):
    def inside():
        with msp.accelerated(**on, reach=reach, verify="off"):
            assert torch.stft(signal.x, 400, 160, window=signal.window, return_complex=True).is_complex()
            assert msp.is_enabled()
        assert not msp.is_enabled()

    def outside():
        with msp.accelerated(devices=()):
            pass
        assert not msp.is_enabled()
        torch.stft(signal.x, 400, 160, window=signal.window, return_complex=True)

    own = torch.functional.stft
    in_threads(inside, inside, outside)
    assert torch.stft is own and not [name for name in msp.status().patched.values() if name != "not patched"]


def test_looking_while_others_call_and_change_is_safe(signal, on, threads):
    def look():
        str(msp.stats()), str(msp.report()), str(msp.status())
        msp.explain(torch.stft, signal.x, 400, window=signal.window, return_complex=True)

    def change():
        msp.enable(**on)
        msp.watch_calls()
        signal.stft()
        msp.watch_calls(False)
        msp.disable()
        msp.reset_stats()

    in_threads(look, change, signal.stft)
    msp.watch_calls(False)
    msp.disable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_keeps_its_state_even_when_another_thread_held_every_lock(run_python, forks):
    """In a process of its own, with one thread of torch's: forking does not go well with others."""
    output = run_python(
        """
        import os, threading, sys
        import mps_spectro_patch as msp
        from mps_spectro_patch.execution import call_sites as watch
        from mps_spectro_patch.patching import install as patching
        torch.set_num_threads(1)
        msp.enable(devices=devices, verify="off")
        magnitude(x)
        held, go = threading.Event(), threading.Event()

        def hold():
            with patching._lock, watch._lock:
                held.set()
                go.wait()

        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if child == 0:
            before = msp.stats()["stft"].fast
            magnitude(x)
            good = msp.is_enabled() and (before, msp.stats()["stft"].fast) == (1, 2)
            msp.disable()
            good = good and torch.stft is original_stft
            print("child", good, flush=True)
            os._exit(0)
        go.set()
        assert os.waitpid(child, 0)[1] == 0
        magnitude(x)
        assert msp.stats()["stft"].fast == 2 and msp.is_enabled()
        """
    )
    assert "child True" in output


def test_a_spawned_child_starts_as_the_variable_says_and_not_as_its_parent(run_python, tmp_path, device_name):
    program = tmp_path / "program.py"
    program.write_text("""
import multiprocessing, os
import mps_spectro_patch as msp

def state(_):
    import mps_spectro_patch
    return mps_spectro_patch.is_enabled()

if __name__ == "__main__":
    msp.enable()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before = pool.map(state, [0])
    os.environ["MPS_SPECTRO_PATCH"] = "1"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(before, pool.map(state, [0]))
""")
    assert run_python(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')",
                      prelude="") == "[False] [True]\n"  # fmt: skip
