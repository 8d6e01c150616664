"""Write the glossary of docs/reading-the-report.md from the terms that the report itself explains.

python scripts/glossary_section.py
"""

import re
from pathlib import Path

from orcinus.reports.glossary import TERMS

PAGE = Path(__file__).parents[1] / "docs" / "reading-the-report.md"
SECTION = re.compile(r"(?<=## Glossary\n\n)(\|.*\n)*\n?(?=\[Report files\])")


def page() -> str:
    """Return the whole page, with the section made anew."""
    rows = "".join(f"| {term} | {text} |\n" for term, text in TERMS.items())
    table = f"| word | meaning |\n|---|---|\n{rows}\n"
    return SECTION.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
