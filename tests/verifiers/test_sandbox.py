"""Hostile programs in the sandbox: none reaches the host, and none takes more than its share."""

import gzip
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from orcinus.verifiers import sandbox
from orcinus.verifiers.programs import final_program, passes
from orcinus.verifiers.rules import judge
from orcinus.verifiers.sandbox import run_program

REACHING_OUT = {
    "a file is read": "print(open('/etc/passwd').read())",
    "a file is read by path": "from pathlib import Path\nprint(Path('/etc/passwd').read_text())",
    "a file is written": "open('TARGET', 'w').write('x')",
    "a path is written": "from pathlib import Path\nPath('TARGET').write_text('x')",
    "a folder is listed": "import os\nprint(os.listdir('/'))",
    "a command is run": "import os\nos.system('touch TARGET')",
    "a process is started": "import subprocess\nsubprocess.run(['touch', 'TARGET'])",
    "the environment is read": "import os\nprint(os.environ['ORCINUS_TEST_SECRET'])",
    "the environment is asked": (
        "import os\nprint(os.getenv('ORCINUS_TEST_SECRET', ''))\nraise ValueError"
    ),
    "a socket is opened": "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "a page is fetched": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    "a library is loaded": "import ctypes\nctypes.CDLL(None).getpid()",
    "modules are imported by name": "__import__('os').system('touch TARGET')",
    "modules are imported by a library": (
        "import importlib\nimportlib.import_module('os').system('touch TARGET')"
    ),
    "classes are climbed": "print(().__class__.__base__.__subclasses__())",
    "frames are climbed": "def f():\n    yield\nprint(f().gi_frame.f_builtins)",
    "globals are reached through a function": (
        "def f(): pass\nprint(f.__globals__['__builtins__'])"
    ),
    "a format string reaches attributes": "print('{0.__class__.__mro__}'.format(1))",
    "code objects are made": "print((lambda: 0).__code__.co_consts)",
    "bytes are unpickled": (
        "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'touch TARGET'\\ntR.\")"
    ),
    "the process is ended": "import os\nos._exit(0)",
    "the process kills others": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "memory of the process is opened": "open('/proc/self/mem', 'rb')",
    "the user is asked": "print(input())",
}
TAKING_TOO_MUCH = {
    "it never ends": "while True:\n    pass",
    "it sleeps": "import time\nfor _ in range(10**9):\n    time.sleep(100)",
    "it recurses": "def f():\n    return f()\nf()",
    "a list doubles for ever": "x = [0]\nwhile True:\n    x = x + x",
    "a string is huge": "x = 'a' * 10**11",
    "a number is huge": "x = 9 ** 9 ** 9",
    "a range is listed": "print(list(range(10**10)))",
    "padding is huge": "print(f'{1:1000000000}')",
    "it prints for ever": "while True:\n    print('x' * 1000)",
    "lists are nested without end": "x = []\nwhile True:\n    x = [x]",
    "the source is nested": "(" * 5000 + ")" * 5000,
    "a pattern backtracks": (
        "import re\nre.match(r'(a|aa)+$', 'a' * 5000 + 'b')\nwhile True:\n    pass"
    ),
}


@pytest.mark.parametrize("program", REACHING_OUT.values(), ids=REACHING_OUT.keys())
def test_no_program_reaches_the_host(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCINUS_TEST_SECRET", "hunter2")
    target = tmp_path / "made"
    ran = run_program(program.replace("TARGET", str(target)))
    assert ran.error is not None
    assert "hunter2" not in ran.output + ran.error
    assert "root:" not in ran.output
    assert not target.exists()


@pytest.mark.parametrize("program", TAKING_TOO_MUCH.values(), ids=TAKING_TOO_MUCH.keys())
def test_no_program_takes_more_than_its_share(program: str) -> None:
    started = time.monotonic()
    ran = run_program(program)
    assert ran.error is not None
    assert len(ran.output) <= sandbox.OUTPUT
    assert time.monotonic() - started < 10 * sandbox.SECONDS
    assert run_program("print(1)").output == "1\n"


def test_a_program_leaves_nothing_for_the_next() -> None:
    run_program("x = 41\nimport math\nmath.pi = 3")
    assert run_program("print(x)").error == "NameError: name 'x' is not defined"
    assert run_program("import math\nprint(math.pi > 3)").output == "True\n"


def test_chance_and_clock_are_the_same_in_every_run() -> None:
    program = "import random, datetime\nprint(random.random(), datetime.datetime.now())"
    first = run_program(program)
    run_program.cache_clear()
    assert run_program(program) == first
    assert first.error is None


def test_the_workers_end_with_the_process() -> None:
    script = (
        "import os, signal\nfrom orcinus.verifiers.sandbox import run_program\n"
        "run_program('print(1)')\n"
        "children = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "print(*children, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("looks into /proc")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    workers = done.stdout.split()
    assert workers
    deadline = time.monotonic() + 10
    while any(_alive(int(worker)) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(int(worker)) for worker in workers)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_final_program_prints_is_the_answer() -> None:
    text = "We add.\n```python\nprint('working')\nprint(17 + 25)\n```"
    outcome = judge(text, "number", None, "42")
    assert (outcome.value, outcome.answer) == (1.0, "42")
    assert outcome.reason.startswith("what its program prints")
    assert judge(text, "number", None, "43").value == 0.0


@pytest.mark.parametrize(
    ("program", "answer_type", "reference"),
    [
        ("print('B')", "choice", "B"),
        ("print('(B)')", "choice", "B"),
        ("print(2 > 1)", "bool", "yes"),
        ("print(*sorted(['pear', 'apple']))", "list", ("apple", "pear")),
        ("print(sorted(['pear', 'apple']))", "list", ("apple", "pear")),
        ("print('Monday')", "exact", "monday"),
        ("print(1 / 4)", "math", r"\frac{1}{4}"),
    ],
)
def test_a_program_can_answer_every_type(
    program: str, answer_type: str, reference: str | tuple[str, ...]
) -> None:
    choices = ("one", "two") if answer_type == "choice" else None
    assert judge(f"```python\n{program}\n```", answer_type, choices, reference).value == 1.0  # type: ignore[arg-type]


def test_a_program_that_fails_is_not_judged() -> None:
    outcome = judge("```python\nprint(1 / 0)\n```", "number", None, "42")
    assert (outcome.value, outcome.answer) == (None, None)
    assert "ZeroDivisionError" in outcome.reason


def test_a_program_that_the_text_goes_on_after_is_not_run() -> None:
    text = "```python\nprint(41)\n```\nSo the answer is 42."
    assert final_program(text) is None
    assert judge(text, "number", None, "42").value == 1.0


def test_a_program_in_the_reasoning_is_not_the_answer() -> None:
    assert final_program("<think>\n```python\nprint(41)\n```\n</think>\nThe answer is 42.") is None


TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Here:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds.", 1.0),
        ("def add(a, b):\n    return a + b", 1.0),
        ("```python\ndef add(a, b):\n    return a - b\n```", 0.0),
        ("```python\ndef add(a, b):\n    while True: pass\n```", 0.0),
        ("```python\nimport numpy\ndef add(a, b):\n    return numpy.add(a, b)\n```", None),
        ("I would add them.", None),
    ],
)
def test_code_is_judged_by_its_tests(text: str, value: float | None) -> None:
    assert passes(text, TESTS).value == value
    assert judge(text, "program", None, TESTS).value == value


def test_code_cannot_pass_by_ending_early() -> None:
    text = "```python\ndef add(a, b):\n    return 0\nraise SystemExit(0)\n```"
    assert passes(text, TESTS).value != 1.0


def test_programs_of_a_real_model_print_what_was_recorded(shared_data: Path) -> None:
    same = run = 0
    for name in ("tora_70b_gsm8k", "tora_code_34b_gsm8k"):
        with gzip.open(shared_data / "truth" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                found = re.search(
                    r"```python\n(.*?)```\s*```output\n(.*?)```",
                    orjson.loads(line)["response"],
                    re.DOTALL,
                )
                if found:
                    run += 1
                    same += run_program(found[1]).output.strip() == found[2].strip()
    assert run > 1000
    assert same / run > 0.98  # the others import sympy, which the sandbox has not


def test_nothing_of_the_host_is_inherited() -> None:
    ran = run_program("import os\nprint(os.getcwd())")
    assert os.getcwd() not in ran.output
