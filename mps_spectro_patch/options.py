"""The options of enable() and accelerated(): what they may be, what is refused, and how the environment sets them.

Plain data; knows nothing of torch and patches nothing. Sets up logging if MPS_SPECTRO_PATCH_LOG asks for it.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Literal, get_args

Device = Literal["mps", "cuda", "simulator"]
Op = Literal["stft", "istft"]
Reach = Literal["attribute", "references", "dispatcher"]
Verify = Literal["first", "always", "off"]
OnError = Literal["fallback", "raise"]
OnFallback = Literal["quiet", "raise"]
# The modules of compat/ that hold a PROJECT; a test compares them with the files.
Project = Literal[
    "audio_separator",
    "audiotools",
    "auraloss",
    "demucs",
    "hifigan",
    "kaldi",
    "linkseg",
    "mamba_amt",
    "mps_spectro",
    "muq",
    "musicfm",
    "parallel_wavegan",
    "pyannote",
    "rmvpe",
    "so_vits_svc_fork",
    "torchfcpe",
    "uvr",
    "vocos",
    "whisper",
]

ACCELERATORS = {"mps": "mps", "cuda": "cuda", "simulator": "cpu"}  # our name -> torch's device type
OPS = get_args(Op)
PROJECTS = get_args(Project)
CHOICES = {
    name: get_args(kind)
    for name, kind in (("reach", Reach), ("verify", Verify), ("on_error", OnError), ("on_fallback", OnFallback))
}
ENVIRONMENT = "MPS_SPECTRO_PATCH"
_FROM_ENVIRONMENT = ("devices", "torchaudio", "compat", "reach", "verify", "on_error", "on_fallback")
_ON, _OFF = ("1", "true", "on", "yes"), ("0", "false", "off", "no")  # a switch in the environment

logger = logging.getLogger("mps_spectro_patch")
logger.addHandler(logging.NullHandler())  # otherwise logging's last resort would print warnings of ours to stderr


@dataclass(frozen=True)
class Options:
    """One immutable set of options.

    `device_types` are torch's names for the devices; `flags` the tensor attributes that tell them ten times faster;
    `concerns(tensor)` whether one of them holds; `layer_ops` the ops that are patched as attributes of torch,
    `dispatcher_ops` those patched as operators; `kind` is the same for options under which calls go alike, and
    `front_ends` for those under which front ends do; `groups` are those of patching/hooks.py.
    """

    devices: tuple[str, ...] = ("mps",)
    ops: tuple[str, ...] = OPS
    torchaudio: bool | None = None
    compat: bool | tuple[str, ...] | None = None
    reach: str = "attribute"
    verify: str = "first"
    on_error: str = "fallback"
    on_fallback: str = "quiet"
    device_types: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    flags: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    layer_ops: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    dispatcher_ops: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    concerns: Callable[[object], bool] = field(init=False, repr=False, compare=False)
    kind: str = field(init=False, repr=False, compare=False, default="")
    front_ends: str = field(init=False, repr=False, compare=False, default="")
    groups: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        put = object.__setattr__  # the dataclass is frozen; this is its constructor
        put(self, "devices", _names("devices", self.devices, tuple(ACCELERATORS)))
        put(self, "ops", _names("ops", self.ops, OPS))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(map(repr, allowed))}")
        if self.torchaudio not in (None, False, True):
            raise ValueError(f"torchaudio={self.torchaudio!r}: expected True, False or None")
        put(self, "compat", _compat(self.compat))
        put(self, "device_types", tuple(ACCELERATORS[device] for device in self.devices))
        put(self, "flags", tuple(f"is_{kind}" for kind in self.device_types))
        put(self, "layer_ops", () if self.reach == "dispatcher" else self.ops)
        put(self, "concerns", attrgetter(*self.flags) if len(self.flags) == 1 else partial(_any, self.flags))
        put(self, "kind", f"{self.devices} {self.verify} {self.on_fallback}")
        put(self, "dispatcher_ops", self.ops if self.reach == "dispatcher" else ())
        put(self, "front_ends", f"{self.devices} {self.verify}")
        put(self, "groups", (*("torchaudio",) * bool(self.torchaudio), *(f"compat.{name}" for name in self.projects)))

    @property
    def projects(self) -> tuple[str, ...]:
        """The modules of compat that are wanted."""
        if isinstance(self.compat, tuple):
            return self.compat
        return () if self.compat is False else PROJECTS

    @classmethod
    def resolve(cls, *given: object, **named: object) -> Options:
        """Options from what was given; for the rest (None) from the environment; for the rest the defaults."""
        named.update(zip(cls.__match_args__, given))  # noqa: B905 (some or none are given so)
        values = {name: value for name, value in named.items() if value is not None}
        for name in _FROM_ENVIRONMENT:
            variable = f"{ENVIRONMENT}_{name.upper()}"
            text = os.environ.get(variable, "").strip().lower()
            if name not in values and text:
                try:
                    values[name] = _switch(name, text) if name == "torchaudio" else text
                    cls(**{name: values[name]})  # type: ignore[arg-type]
                except ValueError as error:
                    raise ValueError(f"environment variable {variable}: {error}") from None
        return cls(**values)  # type: ignore[arg-type]


def _any(flags: tuple[str, ...], tensor: object) -> bool:
    return any(getattr(tensor, flag) for flag in flags)


def _switch(option: str, text: str) -> bool:
    if text not in (*_ON, *_OFF):
        raise ValueError(f"{option}={text!r}: expected 1 or 0")
    return text in _ON


def _compat(given: bool | str | Iterable[str] | None) -> bool | tuple[str, ...] | None:
    """None or True: every project; False: none; else the names of projects. Text is from the environment."""
    if given is None or isinstance(given, bool):
        return given
    if isinstance(given, str) and given in (*_ON, "all"):
        return True
    if isinstance(given, str) and given in (*_OFF, "none"):
        return False
    return _names("compat", given, PROJECTS)


def _names(option: str, given: str | Iterable[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The given names (an iterable, or text with commas), each once, in the order given."""
    if callable(given):
        raise ValueError(f"{option} got {given!r}; as a decorator, write @accelerated() with parentheses")
    try:
        names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    except TypeError:
        raise ValueError(f"{option}={given!r}: expected names out of {', '.join(map(repr, allowed))}") from None
    for name in names:
        if option == "devices" and name == "cpu":
            raise ValueError(
                "devices: 'cpu' is refused, its name is kept free for a CPU path that really is faster; 'simulator' "
                "runs the Metal source on CPU tensors, for tests and for looking inside, and is slow"
            )
        if name not in allowed:
            raise ValueError(f"{option}: {name!r} is not one of {', '.join(map(repr, allowed))}")
    return tuple(dict.fromkeys(names))


def _log_to_stderr(level: str) -> None:
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        text = f"{ENVIRONMENT}_LOG={level!r}: expected debug, info, warning or error"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[mps_spectro_patch] %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)


if os.environ.get(f"{ENVIRONMENT}_LOG", "").strip():
    _log_to_stderr(os.environ[f"{ENVIRONMENT}_LOG"].strip().upper())


def _warn_of_unknown_variables() -> None:
    """A misspelt variable would be ignored without a word."""
    known = {f"{ENVIRONMENT}_{name.upper()}" for name in (*_FROM_ENVIRONMENT, "cache", "log", "selftest", "tuned")}
    unknown = sorted(name for name in os.environ if name.startswith(f"{ENVIRONMENT}_") and name not in known)
    if unknown:
        text = f"{', '.join(unknown)}: no such environment variable; there are {', '.join(sorted(known))}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


_warn_of_unknown_variables()
