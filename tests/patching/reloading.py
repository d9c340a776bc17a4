"""For processes that reload this package: the ways in which that is done, and sequences of them with what else a
program does to torch.stft, drawn by a seed."""

from __future__ import annotations

import copy
import functools
import gc
import importlib
import pickle
import random
import sys
import types
import warnings
import weakref

import torch
import wrapt

PACKAGE = "mps_spectro_patch"
ENTRY = f"{PACKAGE}.patching.entry"  # where the functions are that stand at torch.stft and torch.istft
OWN = torch.stft, torch.istft


def names() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == PACKAGE]


def import_again():
    """As Spyder: the modules are deleted."""
    for name in names():
        del sys.modules[name]
    return importlib.import_module(PACKAGE)


def autoreload(name: str) -> None:
    """As IPython: a module is emptied and loaded again; its functions and classes from before become the new ones."""
    module = sys.modules[name]
    before = dict(vars(module))
    old = {
        key: weakref.ref(value) for key, value in before.items()
        if isinstance(value, (type, types.FunctionType)) and value.__module__ == name
    }  # fmt: skip
    vars(module).clear()
    vars(module).update(__name__=name, __loader__=before["__loader__"])
    try:
        importlib.reload(module)
    except Exception:
        vars(module).update(before)
        raise
    for key, ref in old.items():
        _become(ref(), vars(module).get(key))


def _become(old, new) -> None:
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        for name in ("__code__", "__defaults__", "__doc__", "__closure__", "__globals__", "__dict__"):
            try:
                setattr(old, name, getattr(new, name))
            except (AttributeError, TypeError, ValueError):
                pass
    elif isinstance(old, type) and isinstance(new, type):
        for name, value in list(vars(new).items()):
            try:
                setattr(old, name, value)
            except (AttributeError, TypeError):
                pass
        for one in gc.get_referrers(old):
            if type(one) is old:
                try:
                    object.__setattr__(one, "__class__", new)
                except TypeError:  # IPython says so, and goes on
                    pass


def _closure(below):
    return functools.wraps(below)(lambda *args, **kwargs: below(*args, **kwargs))


def _object(below):
    class Profiled:
        def __init__(self) -> None:
            self.inner = below

        def __call__(self, *args, **kwargs):
            return self.inner(*args, **kwargs)

    return Profiled()


WRAPPERS = (
    _closure, _object, functools.partial, lambda below: functools.partial(lambda f, *a, **k: f(*a, **k), below),
    lambda below: wrapt.FunctionWrapper(below, lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs)),
)  # fmt: skip
REACHES = "attribute", "references", "dispatcher"


class Sequence:
    """What a program does, step after step. After each, calls must give what torch's function gives."""

    def __init__(self, seed: int, devices: tuple[str, ...], x: torch.Tensor, window: torch.Tensor) -> None:
        self.lot, self.devices, self.x, self.window = random.Random(seed), devices, x, window
        self.copies = [importlib.import_module(PACKAGE)]
        self.scopes, self.others, self.done = [], [], []
        self.early = torch.stft  # as a name that was bound before
        self.kept: list = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        self.lot.shuffle(self.scopes)
        while self.scopes:
            self.leave()
        while self.others:
            self.unwrap()
        self.copies[-1].disable()
        self.check("the end")
        assert (torch.stft, torch.istft) == OWN and self.early is OWN[0], self.done
        assert not self.copies[-1].is_enabled() and not [name for name in vars(torch) if name.endswith("_patch_end")]
        keys = "CPU", "AutogradCPU"
        assert not any(torch._C._dispatch_has_kernel_for_dispatch_key("aten::stft.center", key) for key in keys)
        assert type(torch.functional) is types.ModuleType, self.done

    def step(self) -> None:
        choices = [self.enable, self.enable, self.disable, self.wrap, self.enter, self.reload, self.autoreload]
        choices += [self.import_again, self.import_again]
        choices += [self.unwrap] * bool(self.others) + [self.leave] * bool(self.scopes)
        choices += [self.disable_a_copy_before] * (len(self.copies) > 1)
        act = self.lot.choice(choices)
        self.done.append(act.__name__)
        act()
        self.check(act.__name__)
        if type(torch.stft) is types.FunctionType and torch.stft.__globals__["__name__"] in (ENTRY, "torch.functional"):
            self.kept.append(functools.partial(torch.stft, n_fft=64))
        # Where somebody has replaced torch.stft, pickle would not find torch's own function either.
        for one in self.kept if act in (self.enable, self.disable) and not self.others else ():
            for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
                assert again.func in (one.func, torch.stft, OWN[0]), self.done

    def check(self, what: str) -> None:
        for one in range(2):
            x = self.x[:, : self.lot.randrange(1000, 1100)]
            arguments = (x, 400, 160, 400, self.window)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of modules that know another one as it was
                result = torch.stft(*arguments, return_complex=True)
            right = OWN[0](*arguments, return_complex=True)
            assert torch.allclose(result, right, rtol=1e-4, atol=1e-4), (self.done, what, one)

    def enable(self) -> None:
        given = self.lot.choice(REACHES), self.lot.choice(["off", "first"])
        self.done[-1] += str(given)
        self.copies[-1].enable(devices=self.devices, reach=given[0], verify=given[1])
        assert self.copies[-1].is_enabled()

    def disable(self) -> None:
        self.copies[-1].disable()
        assert self.scopes or not self.copies[-1].is_enabled()

    def disable_a_copy_before(self) -> None:
        self.lot.choice(self.copies[:-1]).disable()

    def enter(self) -> None:
        scope = self.copies[-1].accelerated(devices=self.devices, reach=self.lot.choice(REACHES))
        scope.__enter__()
        self.scopes.append(scope)

    def leave(self) -> None:
        self.scopes.pop().__exit__(None, None, None)

    def wrap(self) -> None:
        self.others.append(torch.stft)
        torch.stft = self.lot.choice(WRAPPERS)(torch.stft)

    def unwrap(self) -> None:
        torch.stft = self.others.pop()  # whatever stood there, as their authors do it

    def _name(self) -> str:
        name = self.lot.choice(names())
        self.done[-1] += f"({name})"
        return name

    def reload(self) -> None:
        was_on = self.copies[-1].is_enabled()
        importlib.reload(sys.modules[self._name()])
        assert self.copies[-1].is_enabled() is was_on, self.done

    def autoreload(self) -> None:
        was_on = self.copies[-1].is_enabled()
        autoreload(self._name())
        assert self.copies[-1].is_enabled() is was_on, self.done

    def import_again(self) -> None:
        self.copies.append(import_again())
