"""Say how different several lessons to the same question are.

    lessons.parquet  ──►  "Of 4.0 lessons to a question, 1.6 differ …"

The Vendi score is the number of different texts, where similar ones count in part.
"""

from collections import Counter
from pathlib import Path
from statistics import fmean

import orjson

from orcinus.core.draw import draw
from orcinus.evaluation.diagnosis.difficulty import Key
from orcinus.lessons.diversity import similarities, vendi_score
from orcinus.runs import tables

MOST_QUESTIONS = 200
"""Questions that are compared, drawn by hash; their mean is then known to a few percent."""
REPEATED = 0.6
"""Different lessons for each lesson below which the note says what to change."""


def describe_variety(lessons: Path) -> str | None:
    """Return a note on the lessons of questions that have several; None where none has.

    Lessons with demonstrations are left out: they repeat others.
    """
    counts = Counter[Key]()
    for row in tables.read_rows(lessons, ["task", "example_id", "meta"]):
        if not orjson.loads(row["meta"]).get("shots"):
            counts[row["task"], row["example_id"]] += 1
    several = [key for key, count in counts.items() if count > 1]
    texts: dict[Key, list[str]] = {
        key: [] for key in draw(several, lambda key: ("variety", *key), MOST_QUESTIONS)
    }
    for lesson in tables.read_lessons(lessons):
        if (lesson.task, lesson.example_id) in texts and not lesson.meta.get("shots"):
            text = f"{lesson.reasoning or ''}\n{lesson.completion}"
            texts[lesson.task, lesson.example_id].append(text)
    if not texts:
        return None
    taught = fmean(len(several) for several in texts.values())
    different = fmean(vendi_score(similarities(several)) for several in texts.values())
    note = (
        f"Of {taught:.1f} lessons to a question, {different:.1f} differ (Vendi score by runs of "
        f"five words; questions with several lessons: {len(texts):,})."
    )
    if different >= REPEATED * taught:
        return note
    return f"{note} Raise teach.sampling.temperature, or lower its samples: repeats cost the same."
