"""``python -m orcinus`` is ``orcinus``."""

from orcinus.cli import main

main()
