"""The command line as a newcomer meets it."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "pyarrow", "scipy", "numpy")


def test_help_waits_for_nothing_heavy() -> None:
    code = f"import sys, orcinus.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
