# just: list the tasks. Install it with `pip install rust-just`, or run the lines by hand.
_:
    @just --list

# Set up .venv as the tests want it.
setup:
    python3 -m venv .venv && .venv/bin/pip install -q --no-compile -c constraints.txt -e '.[dev]'

# Lint, format, types and the import order of the twelve rooms.
check:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    .venv/bin/lint-imports

# The README's test command; `just test tests/core` for a part.
test *paths:
    .venv/bin/pytest -q -n auto --dist loadfile {{paths}}

# The slow tests that `just test` leaves out.
test-slow:
    .venv/bin/pytest -q -n auto --dist loadfile -m slow

# One benchmark: just bench engine --quick
bench name *flags:
    .venv/bin/python -m benchmarks.{{name}} {{flags}}

# The documents that are made from the code.
docs:
    .venv/bin/python scripts/recipe_reference.py
    .venv/bin/python scripts/command_reference.py
    .venv/bin/python scripts/python_reference.py
    .venv/bin/python scripts/verdicts_page.py
    .venv/bin/python scripts/glossary_section.py

# The documents as a site in site/, warnings as errors; open site/index.html, no network needed.
site: docs
    python3 -m venv .venv-docs && .venv-docs/bin/pip install -q -e '.[docs]'
    .venv-docs/bin/mkdocs build --strict

# What a release checks before its tag; see RELEASE.md.
release: check test test-slow
    scripts/newest
    .venv/bin/python -m build --wheel
