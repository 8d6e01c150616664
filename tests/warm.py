"""Run the command line, or a script, in a fork of a process that has the heavy libraries loaded.

Loading torch, Transformers and PEFT takes five seconds of CPU, and the tests call the command line
a hundred times. A fork has its own memory, files, signals and exit code, as a new process has.
Only the loaded modules differ, so tests of what a command imports start a process of their own.
"""

import atexit
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

READ_AT_IMPORT = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "OMP_", "RAY_", "TORCH")
"""Beginnings of names of variables that libraries read when they are imported."""

Variables = tuple[tuple[str, str], ...]

_servers: "dict[Variables, subprocess.Popen[str]]" = {}
"""The processes to fork, by the variables under which they loaded the libraries."""
_expected: set[Variables] = set()


def expect(environment: Mapping[str, str]) -> None:
    """Have commands under this environment forked too, because several come."""
    _expected.add(_read_at_import({**_environment(), **environment}))


def fits(environment: Mapping[str, str]) -> bool:
    """Return whether to fork for this environment: the usual one, or one that is expected."""
    usual = _read_at_import(_environment())
    return hasattr(os, "fork") and _read_at_import(environment) in {usual, *_expected}


def _read_at_import(variables: Mapping[str, str]) -> Variables:
    return tuple(sorted((k, v) for k, v in variables.items() if k.startswith(READ_AT_IMPORT)))


def run(
    arguments: list[str], cwd: Path, environment: Mapping[str, str], script: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``orcinus ARGUMENTS``, or a script, to its end; return exit code, stdout and stderr."""
    server = _start(environment)
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ("stdout", "stderr"))
        question = {
            "arguments": arguments,
            "script": None if script is None else str(script),
            "cwd": str(cwd),
            "environment": dict(environment),
            "stdout": str(out),
            "stderr": str(err),
        }
        server.stdin.write(json.dumps(question) + "\n")
        server.stdin.flush()
        code = os.waitstatus_to_exitcode(int(server.stdout.readline()))
        texts = [path.read_text(encoding="utf-8") for path in (out, err)]
    return subprocess.CompletedProcess(arguments, code, *texts)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    read = _read_at_import(environment)
    server = _servers.get(read)
    if server is None or server.poll() is not None:
        others = {k: v for k, v in os.environ.items() if not k.startswith(READ_AT_IMPORT)}
        server = _servers[read] = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**others, **dict(read)},
        )
        atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen[str]) -> None:
    server.communicate()


def _load() -> None:
    """Import what the commands import."""
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    import transformers

    import orcinus

    _ = (transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
    for found in pkgutil.walk_packages(orcinus.__path__, "orcinus."):
        if found.name != "orcinus.__main__":
            importlib.import_module(found.name)
    if "HF_ENDPOINT" in os.environ and importlib.util.find_spec("datasets"):
        importlib.import_module("datasets")  # for those that read from a hub
    gc.freeze()  # what was loaded is not walked, and so not copied, by each fork


def _serve(questions: TextIO, answers: TextIO) -> None:
    """Fork for each line of ``questions``, and write the wait status of the fork."""
    for line in questions:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        answers.write(f"{status}\n")
        answers.flush()


def _become(question: dict[str, Any]) -> None:
    """Be the command line in this process, and end it."""
    code: Any = 1
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(question[name], flags), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(question["environment"])
        os.chdir(question["cwd"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = ["", *filter(None, added)]
        if question["script"] is None:
            sys.argv = ["orcinus", *question["arguments"]]
            runpy.run_module("orcinus", run_name="__main__", alter_sys=True)
        else:
            sys.argv = [question["script"], *question["arguments"]]
            runpy.run_path(question["script"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - like the interpreter, it prints what ended the command
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints while it is loaded is no answer
    _load()
    _serve(sys.stdin, answers)
