"""The folder that setup.sh has set up, from outside: compiles a text in it, and runs what it compiled on the CPU."""

from __future__ import annotations

import filecmp
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mps_spectro_patch.kernels.compilers import arguments
from mps_spectro_patch.kernels.launch import dispatch

from . import opencl

HERE = Path(__file__).parent
_INSIDE = "kernels"  # the folder in the root that all is written to
_OWN = ("metal.h", "compile.sh", "on_cpu.py")
# PoCL asks the machine for its memory, which is not to be seen from inside.
_CPU = ("env", "HWLOC_SYNTHETIC=node:1(memory=4294967296) pu:1", f"POCL_CACHE_DIR=/{_INSIDE}/pocl")
METHODS = ("cbs", "loopvec")  # how PoCL makes loops of threads: the first is quicker, and wrong or ends at some kernels


class Failed(Exception):
    """A kernel was not compiled, or did not run; in words of the tool that said so."""


@dataclass(frozen=True)
class Counts:
    """What Mesa says of a kernel's machine code, as the columns of the results are called. demand: registers of 16 bits
    that live at once, before any is spilled; threads: of a core, by the registers given out; scratch: bytes."""

    demand: int
    threads: int
    instructions: int
    alu: int
    spills: int
    fills: int
    scratch: int
    local_bytes: int


class Folder:
    """Raises Failed where there is none."""

    def __init__(self, root: Path) -> None:
        if not (root / "versions").exists():
            raise Failed(f"{root} is not set up: {HERE.name}/setup.sh {root}")
        self.root, self.work = root, root / _INSIDE
        self.versions = (root / "versions").read_text().strip()
        for name in _OWN:
            if not (self.work / name).exists() or not filecmp.cmp(HERE / name, self.work / name, shallow=False):
                shutil.copy(HERE / name, self.work / name)
        own = "".join((HERE / name).read_text() for name in _OWN[:2])
        self._key = own + self.versions

    def name(self, text: str) -> str:
        return hashlib.sha256((self._key + text).encode()).hexdigest()[:20]

    def remembered(self, what: str, number: Callable[[], float]) -> float:
        """`number()` of `what` determines it: it is worked out once."""
        path = self.work / f"{self.name(what)}.number"
        if not path.exists():
            path.write_text(repr(number()))
        return float(path.read_text())

    def compile(self, text: str) -> dict[int, Counts]:
        """Without LICM (0) and with it (1). What was compiled before is not compiled again."""
        path = self.work / self.name(text)
        spirv = path.with_suffix(".cpu.spv")
        if not spirv.exists():
            path.with_suffix(".cl").write_text(text)
            done = subprocess.run(
                ["chroot", str(self.root), "bash", "-c", f"cd /{_INSIDE} && timeout 300 ./compile.sh {path.name}"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise Failed((done.stderr + done.stdout).strip()[-600:] or f"exit status {done.returncode}")
        return {licm: counts(path.with_suffix(f".{licm}.txt").read_text()) for licm in (0, 1)}


def counts(said: str) -> Counts:
    """From what asahi_clc prints with the edits of mesa-25.0.7.patch."""
    demand = re.search(r"^DEMAND: (\d+)$", said, re.MULTILINE)
    shader = re.search(
        r"(\d+) inst, (\d+) alu, .* (\d+) scratch, (\d+) threads, \d+ loops, (\d+):(\d+) spills:fills", said
    )
    local = re.search(r"^INFO: .* local=(\d+) ", said, re.MULTILINE)
    if demand is None or shader is None or local is None or "MESA_SHADER_COMPUTE" not in said:
        raise Failed(f"no counts in: {said[-300:]}")
    instructions, alu, scratch, threads, spills, fills = map(int, shader.groups())
    return Counts(int(demand[1]), threads, instructions, alu, spills, fills, scratch, int(local[1]))


class Processor:
    """PoCL in the folder. Of a kernel that ends the process, the next one starts another."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.method = folder, METHODS[0]
        self._process: subprocess.Popen[bytes] | None = None

    def kernel(self, name: str, defines: str, device_type: str) -> Callable[..., None]:
        """As dispatch.kernel()."""
        written = opencl.written(dispatch.kernel_text(name, defines), name)
        self.folder.compile(written.text)
        spirv = f"/{_INSIDE}/{self.folder.name(written.text)}.cpu.spv"

        def launch(*args: Any, threads: int, group_size: int, arg_casts: Any = None) -> None:
            job: dict[str, Any] = dict(spirv=spirv, kernel=name, groups=threads // group_size, threads=group_size)
            places: dict[int, int] = {}  # of tensors, by address: one buffer each
            tensors, buffers, bound = [], [], []
            for position, (arg, by_value) in enumerate(zip(args, written.values, strict=True)):
                if isinstance(arg, torch.Tensor):
                    if arg.data_ptr() not in places:
                        places[arg.data_ptr()] = len(buffers)
                        memory = _memory(arg)
                        tensors.append((len(buffers), memory))
                        buffers.append(bytes(memory.numpy()))
                    bound.append(("buffer", places[arg.data_ptr()]))
                    continue
                _, _, data, _ = arguments.bind(
                    [arg], {0: (arg_casts or {}).get(position, "")}, lambda _: True, lambda _: 0
                )
                if by_value:
                    bound.append(("value", data[:4].hex()))
                else:
                    bound.append(("buffer", len(buffers)))
                    buffers.append(data)
            answers = self._run(job | {"args": bound, "sizes": [len(buffer) for buffer in buffers]}, buffers)
            for place, memory in tensors:
                memory.copy_(torch.frombuffer(bytearray(answers[place]), dtype=torch.uint8))

        return launch

    def _run(self, job: dict[str, Any], buffers: list[bytes]) -> list[bytes]:
        if self._process is None:
            command = ["chroot", str(self.folder.root), *_CPU, f"POCL_WORK_GROUP_METHOD={self.method}"]
            command += ["python3", "-W", "ignore", f"/{_INSIDE}/on_cpu.py"]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self._process = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n" + b"".join(buffers))
            process.stdin.flush()
        except BrokenPipeError:
            pass
        line = process.stdout.readline()
        answers = [process.stdout.read(len(buffer)) for buffer in buffers]
        if line != b"\n":
            if not line:
                self.close()
            raise Failed(line.decode().strip() or "PoCL ended")
        return answers

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes from a tensor's first element to the end of its storage."""
    storage = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
    return storage[tensor.storage_offset() * tensor.element_size() :]
