"""Programs in children of one process that has torch imported, or torch's compiler too: each starts as anew as an
interpreter of its own would, without the seconds that these imports take.

Run as a program, this is that process: it imports the modules that it is given, reads a job per line, forks, and prints
the child's exit code.
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import types
from pathlib import Path
from tempfile import TemporaryDirectory

TORCH = ("torch",)
COMPILER = (*TORCH, "torch._dynamo", "torch._inductor.compile_fx", "torch.export")


class Forker:
    def __init__(self, imports: tuple[str, ...]) -> None:
        self._imports = imports
        self._server: subprocess.Popen[str] | None = None

    def run(self, code: str, environment: dict[str, str], timeout: float) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a process that runs `code`."""
        environment = {**environment, "CUDA_VISIBLE_DEVICES": ""}  # a fork cannot use CUDA, and torch's compiler would
        if self._server is None:
            command = [sys.executable, __file__, *self._imports]
            own = {name: value for name, value in environment.items() if not name.startswith("MPS_SPECTRO_PATCH")}
            self._server = subprocess.Popen(
                command,
                env=own,  # not what the first job sets for this package, which is not imported here
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                start_new_session=True,
            )
        with TemporaryDirectory() as folder:
            job = {"code": code, "environment": environment, "folder": folder, "directory": os.getcwd()}
            print(json.dumps(job), file=self._server.stdin, flush=True)
            if not select.select([self._server.stdout], [], [], timeout)[0]:
                self.close()
                raise TimeoutError(f"still running after {timeout} s: {code}")
            answer = self._server.stdout.readline()
            output, errors = (Path(folder, name).read_text() for name in ("output", "errors"))
            return int(answer), output, errors

    def close(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, 9)
            self._server.communicate()
            self._server = None


def serve() -> None:
    for name in sys.argv[1:]:
        __import__(name)
    gc.freeze()  # a child that collected what is here when it ends would copy it, page by page: a second for each
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            return run(**job)  # and ends as every program does
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(code: str, environment: dict[str, str], folder: str, directory: str) -> None:
    for number, name in ((1, "output"), (2, "errors")):
        file = os.open(Path(folder, name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv, sys.path[0] = ["-c"], ""
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    serve()
