"""Every Metal source that the package can generate, from the plans and the families' Kind dataclasses: none by hand.

A family is a module of kernels/launch with `KERNELS`, the names of its kernels. Most have a `Kind`, a dataclass whose
fields say which kernel: they are taken through all their values, whether or not a launch asks for that combination.
A family that chooses its kernels in another way has a generator of its own at the end of this file.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch

from mps_spectro_patch.kernels import launch
from mps_spectro_patch.kernels.launch import dispatch, features
from mps_spectro_patch.kernels.plans import fft


@dataclass(frozen=True)
class Generated:
    """One source: what it is, its text, the kernel in it, and the plan that says how it is launched."""

    label: str
    defines: str
    kernel: str
    plan: fft.Plan | None
    kind: tuple  # of kernel: what is the same for all plans
    threads: int
    also: tuple = ()  # traits of a choice that does not depend on the others

    @property
    def text(self) -> str:
        return dispatch.kernel_text(self.kernel, self.defines)


def families() -> list[ModuleType]:
    modules = (
        importlib.import_module(f"{launch.__name__}.{info.name}") for info in pkgutil.iter_modules(launch.__path__)
    )
    return [module for module in modules if hasattr(module, "KERNELS")]


def _own_generator(family: ModuleType) -> Callable[[ModuleType], Iterator[Generated]] | None:
    return globals().get(f"_of_{family.__name__.rsplit('.', 1)[-1]}")


def files(path: str) -> set[str]:
    """A Metal file and all that it includes, by their paths in the folder of the Metal files."""
    included = re.findall(r'^#include "(.+)"$', dispatch._read(path), re.MULTILINE)
    return {path}.union(*map(files, included))


@cache
def everything() -> tuple[Generated, ...]:
    return tuple(_everything())


def _everything() -> Iterator[Generated]:
    """Each text once: fields of a Kind that a kernel's files do not mention make no difference."""
    seen: set[tuple] = set()
    for family in families():
        own = _own_generator(family)
        if own is not None:
            yield from own(family)
            continue
        for kind in kinds(family):
            mentioned = set(re.findall(r"\bMSP_\w+", dispatch.kernel_text(kind.name)))
            defines = "".join(line for line in kind.defines().splitlines(True) if line.split()[1] in mentioned)
            for which, planned, label in plans(family, kind):
                if (key := (kind.name, which, defines)) not in seen:
                    seen.add(key)
                    every = planned + kind.defines()
                    yield Generated(f"{label} {kind}", every, kind.name, which, (kind.name, defines), which.threads)


def plans_of(kernel: str) -> tuple[fft.Plan, ...]:
    """The plans of a kernel that has a Kind, as everything() has them: in less time, without texts."""
    found: dict[fft.Plan, None] = {}
    for family in families():
        if _own_generator(family) is not None:
            continue
        seen = set()
        for kind in kinds(family):
            how = {name: value for name, value in vars(kind).items() if name in _DECIDES_PLANS}
            if kind.name == kernel and (key := tuple(how.items())) not in seen:
                seen.add(key)
                found.update((which, None) for which, _, _ in plans(family, kind))
    return tuple(found)


_DECIDES_PLANS = ("name", "bluestein", "packed", "is_real", "inverse")  # the fields of a Kind that plans() looks at


def representatives(traits: Callable[[Generated], set[tuple]] | None = None) -> list[Generated]:
    """Few sources that have every kind of kernel, and every kernel's ways and numbers of stages among their plans."""
    traits = traits or combined_traits
    missing = set().union(*map(traits, everything()))
    chosen = []
    by_size = sorted(everything(), key=lambda source: -source.plan.n_fft if source.plan else 0)
    for wanted in (3, 2, 1):  # first those that show as much as possible at once
        for source in by_size:
            if len(found := traits(source) & missing) >= wanted:
                chosen.append(source)
                missing -= found
    return chosen


def combined_traits(source: Generated) -> set[tuple]:
    """What the checker should have seen once."""
    if source.plan is None:
        return {source.kind}
    return {*source.also, source.kind, (source.kernel, way(source.plan)), (source.kernel, len(source.plan.radices))}


def single_traits(source: Generated) -> set[tuple]:
    """The parts of the same, of which the first tier of the tests sees each once, and not each with each."""
    found = set()
    for trait in combined_traits(source):
        for number, part in enumerate(trait):
            values = part.splitlines() if isinstance(part, str) else part if isinstance(part, tuple) else [part]
            found |= {(source.kernel, len(trait), number, *enumerated) for enumerated in enumerate(values)}
    return found


def way(which: fft.Plan) -> tuple:
    """The part of a plan that decides which lines of the text are there; sizes only change numbers."""
    waits = which.overlap == "registers" and which.frames > 1 and which.reach > 1
    return waits, which.overlap, which.mirrored, which.split, which.lanes > 32, min(which.frames, 5) > 4, which.half % 2


def way_parts(which: fft.Plan) -> set:
    """Each value of what makes up the way of a plan, and whether there is more than one stage."""
    return {*enumerate(way(which)), ("stages", len(which.radices) > 1)}


def plan_traits(which: fft.Plan) -> set:
    """What a plan has that another may lack: its way, its number of stages, its radices."""
    return {way(which), len(which.radices), *((radix, "radix") for radix in which.radices)}


def kinds(family: ModuleType) -> Iterator:
    fields = dataclasses.fields(family.Kind)
    values = []
    for field in fields:
        if field.name == "name":
            values.append(list(family.KERNELS))
        elif field.type in ("bool", bool):
            values.append([False, True])
        elif "dtype" in str(field.type):
            values.append(sample_types(family))
        else:
            raise TypeError(f"{family.__name__}.Kind.{field.name} is a {field.type}: say here which values it takes")
    for combination in itertools.product(*values):
        yield family.Kind(**dict(zip((field.name for field in fields), combination, strict=True)))


def sample_types(family: ModuleType) -> list:
    """Of signals that its kernels read: complex ones have kernels of any size only."""
    return [dtype for dtype in dispatch.SAMPLE_TYPES if not dtype.is_complex or "any_size" in family.__name__]


def plans(family: ModuleType, kind) -> tuple[tuple[fft.Plan, str, str], ...]:
    """(plan, its text, label)."""
    if "bluestein" not in {field.name for field in dataclasses.fields(kind)}:
        return _real_plans(kind.name)
    if kind.is_real or not kind.packed:
        return _transforms(not kind.is_real, kind.inverse, kind.bluestein, kind.packed)
    return ()


@cache
def _real_plans(name: str) -> tuple[tuple[fft.Plan, str, str], ...]:
    return tuple(_in_registers() if name == "msp_istft_registers" else _of_real_frames(name == "msp_stft"))


def _in_registers() -> Iterator[tuple[fft.Plan, str, str]]:
    for n_fft in fft.supported_sizes():
        for radix in set(fft.stft_plan(n_fft).radices):
            for shift in range(1, radix + 1):
                found = fft.registers_plan(n_fft, n_fft // radix * shift)
                if found is not None:
                    yield found, found.defines(), f"n_fft={n_fft} shift={found.shift}"


def _of_real_frames(forward: bool) -> Iterator[tuple[fft.Plan, str, str]]:
    for n_fft in fft.supported_sizes():
        which = (fft.stft_plan if forward else fft.istft_plan)(n_fft)
        yield which, which.defines(), f"n_fft={n_fft}"


@cache
def _transforms(
    complex_valued: bool, inverse: bool, bluestein: bool, packed: bool
) -> tuple[tuple[fft.Plan, str, str], ...]:
    found: dict[fft.Plan, tuple[fft.Plan, str, str]] = {}
    for n_fft in range(1, fft.MAX_N_FFT + 1):
        if not fft.supports(n_fft, complex_valued):
            continue
        points = n_fft if complex_valued or n_fft % 2 else n_fft // 2
        if not fft.supports_real(2 * points) and points > fft.MAX_BLUESTEIN_POINTS:
            continue  # the real family's alone
        how = fft.transform(n_fft, complex_valued, inverse)
        if (how.bluestein, how.packed) == (bluestein, packed) and how.plan not in found:
            found[how.plan] = how.plan, how.defines(), f"points={how.points}"
    return tuple(found.values())


def _of_features(family: ModuleType) -> Iterator[Generated]:
    """By plan, filterbank or none, gradient, power with or without a floor, sample type, and layout."""
    seen, programs = set(), set()
    for n_fft in range(2, fft.MAX_N_FFT + 1):
        if not fft.supports(n_fft):
            continue
        few = n_fft // 4 + 1
        for banded, (gradient, used) in itertools.product((False, True), ((False, None), (False, few), (True, None))):
            program = family._program(n_fft, 80 if banded else 0, gradient, used)
            if program is None:
                continue
            how = program.how and dataclasses.replace(program.how, points=0, bins=0)  # which are no part of the text
            if (key := (dataclasses.replace(program, how=how), banded, gradient)) in programs:
                continue
            programs.add(key)
            choices = [(*choice, False, "clamp") for choice in _powers(family)]
            if banded and not gradient:  # the layout has nothing to do with powers and samples
                choices.append((1.0, torch.float32, False, True, "clamp"))
            if not banded and not gradient:  # what most spectrograms are
                choices += [(*choice, False, "linear") for choice in _powers(family)]
            # Nor have scales.
            choices += [(2.0, torch.float32, False, False, scale) for scale in family.SCALES]
            for power, dtype, floored, contiguous, scale in choices:
                defines = program.defines(banded, gradient, power, dtype, floored, contiguous, scale)
                if defines not in seen:
                    seen.add(defines)
                    how = program.how
                    kind = program.name, banded, gradient, how and how.bluestein, how and how.folded
                    layout = program.name, "contiguous", banded, contiguous, scale
                    also = (program.name, power, floored), (program.name, dtype), layout
                    yield Generated(
                        f"n_fft={n_fft} {kind} {also}",
                        defines,
                        program.name,
                        program.plan,
                        kind,
                        program.plan.threads,
                        also,
                    )

    for n_fft in fft.supported_sizes():  # the gradient in one launch
        which = fft.istft_plan(n_fft)
        choices = [(*choice, "clamp") for choice in _powers(family)]
        choices += [(2.0, torch.float32, False, scale) for scale in family.SCALES]
        for banded, (power, dtype, floored, scale) in itertools.product((False, True), dict.fromkeys(choices)):
            defines = family._adjoint_defines(which, banded, power, dtype, floored, scale)
            name = "msp_features_gradient"
            kind, also = (name, banded), ((name, power, floored), (name, dtype), (name, "scale", scale))
            yield Generated(f"n_fft={n_fft} {kind} {also}", defines, name, which, kind, which.threads, also)


def _powers(family: ModuleType) -> list[tuple[float, torch.dtype, bool]]:
    """(power, sample type, whether it has a floor): a floor has nothing to do with how samples are read."""
    powers = 1.0, 2.0, 1.5
    return [
        *itertools.product(powers, sample_types(family), (False,)),
        *itertools.product(powers, (torch.float32,), (True,)),
    ]


LOSS_SIZES = (18, 400, 1024, 8192)  # of all terms; others of the usual ones


def _of_stft_loss(family: ModuleType) -> Iterator[Generated]:
    """By plan and terms; and one kernel that has none."""
    usual = family.Terms(1.0, 1.0, 0.0, 1e-8)
    every = [
        usual, family.Terms(1.0, 1.0, 1.0, 1e-8, added=1.0, squared=True), family.Terms(1.0, 0.0, 1.0, 1e-8),
        family.Terms(1.0, 1.0, 0.0, 1e-8, squared=True), family.Terms(1.0, 1.0, 1.0, 1e-8, added=1.0),
    ]  # fmt: skip
    for gradient, n_fft in itertools.product((False, True), fft.supported_sizes()):
        for terms in every if n_fft in LOSS_SIZES else [usual]:
            name, defines, which = family.launched(n_fft, gradient, terms)
            label = f"n_fft={n_fft} {name} {terms.log} {terms.linear} {terms.added} {terms.squared}"
            also = ((name, terms.log, terms.linear, terms.added, terms.squared),)
            yield Generated(label, defines, name, which, (name,), which.threads, also)
    finish = "msp_stft_loss_finish"
    yield Generated(finish, "", finish, None, (finish,), family.FINISH_THREADS)


def _of_kaldi(family: ModuleType) -> Iterator[Generated]:
    """By plan and power; and one kernel that has none."""
    for n_fft in fft.supported_sizes():
        if features.supports_features(n_fft, None) and features._program(n_fft, 80, False) is not None:
            for power, log in ((1.0, True), (2.0, True), (2.0, False)):
                name, defines, which = family.launched(n_fft, 80, power, log)
                yield Generated(f"n_fft={n_fft} {name} {power=} {log=}", defines, name, which, (name,), which.threads,
                                ((name, power, log),))  # fmt: skip
    mean = "msp_subtract_mean"
    yield Generated(mean, "", mean, None, (mean,), family.MEAN_THREADS)


def _of_feature_passes(family: ModuleType) -> Iterator[Generated]:
    """Several kernels in one text, and no plan."""
    for name in family.KERNELS:
        yield Generated(name, "", name, None, (name,), family.THREADS)
