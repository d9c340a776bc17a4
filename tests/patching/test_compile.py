"""torch.compile and torch.export around the patched functions, in every order of import, enable and compile."""

from __future__ import annotations

import pytest

from .conftest import compiles_with


@pytest.mark.parametrize("dynamo", ["imported before enable", "imported after enable"])
def test_compiled_code_is_accelerated_whole_and_early_references_still_compile(dynamo, run_compiled):
    run_compiled(
        f"""
        if {dynamo == "imported before enable"}:
            import_dynamo()
        msp.enable(devices=devices)
        for backend in ("eager", "aot_eager"):
            check(magnitude, True, backend)
            check(early_bound, False, backend)
        compiled = torch.compile(round_trip, fullgraph=True, backend="aot_eager")  # unpatched istft breaks the graph
        torch.testing.assert_close(compiled(x), x, rtol=1e-4, atol=1e-4)
        msp.disable()
        torch._dynamo.reset()
        check(magnitude, False, "aot_eager")
        """,
        anew=True,
    )


def test_what_was_compiled_follows_enable_and_disable(run_compiled):
    run_compiled(
        """
        msp.enable(devices=devices)
        compiled = check(magnitude, True)
        msp.disable()
        assert not runs_ours(lambda: compiled(x))
        msp.enable(devices=devices)
        assert runs_ours(lambda: compiled(x))
        """
    )


@pytest.mark.thorough
def test_inductor_accelerates_and_its_cache_on_disk_is_not_poisoned(run_compiled):
    compiles_with("inductor")
    for enabled in (False, True):  # one order is both: either the two graphs have one key in the cache, or two
        run_compiled(
            f"""
            if {enabled}:
                msp.enable(devices=devices)
            check(magnitude, {enabled}, "inductor")
            """
        )


def test_compiled_code_follows_enable_alone_and_a_scope_does_not_break_the_graph(run_compiled):
    run_compiled(
        """
        with msp.accelerated(devices=devices):
            compiled = check(magnitude, False)
        assert not runs_ours(lambda: compiled(x))

        @msp.accelerated(devices=devices)
        def scoped(signal):
            with msp.accelerated(devices=()):
                return magnitude(signal)

        torch._dynamo.reset()
        check(scoped, False)
        msp.enable(devices=devices)
        torch._dynamo.reset()
        check(scoped, True)
        """
    )


def test_what_was_compiled_on_one_side_of_a_scope_is_not_poisoned_on_the_other(run_compiled):
    run_compiled(
        """
        outside = check(magnitude, False, "aot_eager")
        with msp.accelerated(devices=devices):
            assert not runs_ours(lambda: outside(x))  # keeps what it was compiled with
            assert runs_ours(lambda: magnitude(x))
            torch._dynamo.reset()
            inside = check(lambda signal: magnitude(signal) * 1, False, "aot_eager")
        assert not runs_ours(lambda: inside(x)) and not runs_ours(lambda: outside(x))
        msp.enable(devices=devices)
        assert runs_ours(lambda: outside(x))  # enable() is what compiled code follows
        with msp.accelerated(devices=()):
            assert runs_ours(lambda: outside(x))
            assert not runs_ours(lambda: magnitude(x))
        torch.testing.assert_close(outside(x), expected, rtol=1e-4, atol=1e-4)
        """
    )


def test_transforms_gradients_and_new_lengths_are_right_in_compiled_code(run_compiled):
    run_compiled(
        """
        warnings.simplefilter("ignore")
        msp.enable(devices=devices)

        def vmapped(f):
            return lambda a: torch.func.vmap(lambda b: f(b[None]))(a)

        for outer in (
            vmapped,
            lambda f: lambda a: torch.func.grad(lambda b: f(b).sum())(a),
            lambda f: lambda a: torch.func.jvp(f, (a,), (a,))[1],
        ):
            torch._dynamo.reset()
            result = torch.compile(outer(magnitude), backend="eager")(x)
            torch.testing.assert_close(result, outer(early_bound)(x), rtol=1e-4, atol=1e-4)

        torch._dynamo.reset()
        compiled = torch.compile(magnitude, fullgraph=True, backend="aot_eager")
        signal = x.clone().requires_grad_()
        compiled(signal).sum().backward()
        reference = x.clone().requires_grad_()
        early_bound(reference).sum().backward()
        torch.testing.assert_close(signal.grad, reference.grad, rtol=1e-3, atol=1e-3)

        torch._dynamo.reset()
        compiled = check(magnitude, True, "aot_eager", dynamic=True)
        longer = torch.randn(3, 5000, device=device)
        torch.testing.assert_close(compiled(longer), early_bound(longer), rtol=1e-4, atol=1e-4)
        """
    )


def test_transform_sizes_may_be_symbols(run_compiled):
    """torch compiles such calls: its own sizes are numbers, too, and another one is compiled anew."""
    run_compiled(
        """
        msp.enable(devices=devices)
        def hann(n_fft):
            return torch.hann_window(n_fft, device=device)

        def there_and_back(signal, n_fft):
            spectrum = torch.stft(signal, n_fft, n_fft // 4, window=hann(n_fft), return_complex=True)
            return torch.istft(spectrum, n_fft, n_fft // 4, window=hann(n_fft))

        compiled = torch.compile(there_and_back, backend="eager", fullgraph=True)
        for n_fft in (64, 80):  # the second is a symbol
            signal = compiled(x, n_fft)
            torch.testing.assert_close(signal, x[:, : signal.shape[1]], rtol=1e-4, atol=1e-4)
            assert runs_ours(lambda: compiled(x, n_fft))
        """
    )


def test_quarantined_plans_are_not_compiled_in(run_compiled):
    run_compiled(
        """
        from mps_spectro_patch.execution import quarantine
        msp.enable(devices=devices)
        compiled = check(magnitude, True)
        quarantine.plans["stft", 400, x.device] = quarantine.Quarantined("stft", "", "", "for this test")
        assert not runs_ours(lambda: compiled(x))
        """
    )


def test_exported_programs_do_not_need_this_package(run_compiled):
    run_compiled(
        """
        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("window", window)  # strict export refused global tensors until torch 2.8

            def forward(self, signal):
                return torch.stft(signal, 400, 160, 400, self.window, return_complex=True).abs()

        msp.enable(devices=devices)
        for strict in (False, True):
            program = torch.export.export(Model(), (x,), strict=strict)
            targets = [str(node.target) for node in program.graph.nodes]
            assert "aten.stft.default" in targets and not any("mps_spectro_patch" in target for target in targets)
        """
    )
