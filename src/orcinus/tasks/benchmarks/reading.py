"""Read a benchmark's items and write them out as Examples.

    files or hub ──► rows ──reader──► Items ──layout, demonstrations──► Examples

The order of the items, their ids and the order of shuffled options depend on the data alone.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from itertools import islice
from pathlib import Path

from orcinus.core.draw import draw
from orcinus.core.errors import ConfigError, DataError
from orcinus.core.fingerprint import fingerprint
from orcinus.core.types import Example
from orcinus.tasks.benchmarks.items import READERS, Item
from orcinus.tasks.benchmarks.specs import Benchmark
from orcinus.tasks.files.drafts import RowDraft, Unusable
from orcinus.tasks.files.examples import Defaults, build, infer_answer_type
from orcinus.tasks.files.hub import read_hub
from orcinus.tasks.files.rows import Row, read_rows
from orcinus.tasks.files.sources import stem_of

_PLACE = re.compile(r"\{(\w+)\}")
_ROWS_TO_INFER_FROM = 64
ASKED = "asked"
"""Key in ``meta``: passage and question without a layout, for finding them in training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkItems:
    """The items of a benchmark under its layouts, and what is missing."""

    by_layout: Mapping[str, list[Example]]
    """The same items under each layout, in the same order."""
    skipped: tuple[str, ...]
    """Unusable rows, one line for each."""
    missing: tuple[str, ...]
    """Subsets without any file."""


def read_benchmark(
    benchmark: Benchmark,
    data: Path | None,
    *,
    layouts: Sequence[str] = (),
    shots: int = 0,
    limit: int | None = None,
) -> BenchmarkItems:
    """Return the items of ``benchmark`` under each of ``layouts``.

    Args:
        benchmark: The benchmark.
        data: Folder of files in the original layouts; None reads from the hub.
        layouts: Names of its layouts; empty takes its first.
        shots: Number of demonstrations before each question.
        limit: At most this many items of each subset: those with the smallest hashes, so that their
            order does not matter.

    Raises:
        ConfigError: There are no files, no such layout, or no demonstrations.
        DataError: A file cannot be read, or no row can be used.
    """
    chosen = tuple(layouts) or (benchmark.default_layout,)
    texts = {name: benchmark.layout(name) for name in chosen}
    by_layout: dict[str, list[Example]] = {name: [] for name in chosen}
    skipped: list[str] = []
    missing: list[str] = []
    for subset in benchmark.subsets:
        sources = _sources(benchmark.hub, benchmark.files, subset, data)
        if not sources:
            missing.append(subset)
            continue
        items = list(_items(benchmark, subset, sources, skipped))
        if limit is not None:
            items = draw(items, lambda item: ("limit", benchmark.name, _key(item)), limit)
        preamble = _demonstrations(benchmark, subset, data, shots)
        for name, text in texts.items():
            by_layout[name] += _examples(benchmark, subset, items, text, preamble, skipped)
    if not any(by_layout.values()):
        raise DataError(_no_items(benchmark, data, skipped))
    return BenchmarkItems(
        by_layout=by_layout, skipped=tuple(dict.fromkeys(skipped)), missing=tuple(missing)
    )


def task_name(benchmark: Benchmark, subset: str) -> str:
    """Return the name of a subset's task."""
    return f"{benchmark.name}/{subset}" if subset else benchmark.name


def _no_items(benchmark: Benchmark, data: Path | None, skipped: Sequence[str]) -> str:
    if skipped:
        return f"{benchmark.name}: no row can be used; the first one: {skipped[0]}"
    patterns = " or ".join(
        pattern.replace("{subset}", benchmark.subsets[0]) for pattern in benchmark.files
    )
    if data is None:
        return (
            f"{benchmark.name} is not on the hub; give its files ({patterns}, "
            f"from {benchmark.url}) with --data DIR"
        )
    return (
        f"{benchmark.name}: no file under {data} matches {patterns}; "
        f"the files are those of {benchmark.url}"
    )


def _sources(hub: str | None, patterns: Sequence[str], subset: str, data: Path | None) -> list[str]:
    """Return the files of a subset, or its address on the hub."""
    if data is None:
        return [] if hub is None else [hub.replace("{subset}", subset)]
    if not data.is_dir():
        raise ConfigError(
            f"{data}: there is no such folder; --data takes the folder of the benchmarks' files"
        )
    for pattern in patterns:
        found = sorted(glob(pattern.replace("{subset}", subset), root_dir=data, recursive=True))
        if found:
            return [str(data / path) for path in found]
    return []


def _items(
    benchmark: Benchmark, subset: str, sources: Sequence[str], skipped: list[str]
) -> Iterator[Item]:
    reader = READERS[benchmark.rows]
    for source in sources:
        for row in _rows(benchmark, source, skipped):
            try:
                for item in reader(row.fields):
                    yield _with_options(benchmark, subset, item)
            except Unusable as error:
                skipped.append(f"{row.where}: {error}")
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                skipped.append(
                    f"{row.where}: not in the layout of {benchmark.rows} "
                    f"({type(error).__name__}: {error})"
                )


def _rows(benchmark: Benchmark, source: str, skipped: list[str]) -> Iterator[Row]:
    if source.startswith("hf:"):
        yield from read_hub(source)
    elif benchmark.delimiter is not None or benchmark.header is not None:
        yield from _table(source, benchmark.delimiter or ",", benchmark.header)
    else:
        yield from read_rows(source, skipped.append)


def _table(source: str, delimiter: str, header: tuple[str, ...] | None) -> Iterator[Row]:
    """Read a text table. MMLU's files have no header; a reader that expects one loses a row."""
    with Path(source).open(encoding="utf-8-sig", newline="") as file:
        try:
            for number, cells in enumerate(csv.reader(file, delimiter=delimiter), 1):
                if header is None:
                    header = tuple(cell.strip() or f"column {i}" for i, cell in enumerate(cells))
                elif any(cells):
                    yield Row(
                        where=f"{source}:{number}",
                        stem=stem_of(source),
                        fields=dict(zip(header, cells, strict=False)),
                    )
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{source}: cannot be read as a table: {error}") from error


def _with_options(benchmark: Benchmark, subset: str, item: Item) -> Item:
    """Return the item with its options as the benchmark's settings say, in their final order."""
    shown = benchmark.options.get(subset)
    if shown is not None:
        if item.reference not in shown:
            raise Unusable(f"the answer {item.reference!r} is none of {', '.join(shown)}")
        item = replace(
            item, choices=tuple(shown.values()), reference=list(shown).index(item.reference)
        )
    if benchmark.shuffle and item.choices is not None:
        order = draw(enumerate(item.choices), lambda numbered: (item.question, numbered[1]))
        numbers, choices = zip(*order, strict=True)
        item = replace(item, choices=choices, reference=numbers.index(int(item.reference)))
    return item


def _key(item: Item) -> str:
    return f"{item.passage}\x1f{item.input or item.question}\x1f{item.choices}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preamble:
    """The description and demonstrations that precede each question of a subset."""

    description: str = ""
    items: tuple[Item, ...] = ()
    texts: tuple[str, ...] = ()
    """Demonstrations that the source gives as whole texts."""


def _demonstrations(benchmark: Benchmark, subset: str, data: Path | None, count: int) -> _Preamble:
    """Return the subset's description, if the source has one, and ``count`` demonstrations.

    Raises:
        ConfigError: There are fewer demonstrations.
    """
    source = benchmark.shots
    written = (
        _sources(None, source.prompts, subset, data)
        if source is not None and data is not None
        else []
    )
    if written:
        description, *texts = _split_prompt_file(Path(written[0]))
        if count > len(texts):
            raise ConfigError(
                f"{task_name(benchmark, subset)}: {count} demonstrations are asked for, "
                f"{written[0]} has {len(texts)}"
            )
        return _Preamble(description=description, texts=tuple(texts[:count]))
    if count == 0:
        return _Preamble()
    found = [] if source is None else _sources(source.hub, source.files, subset, data)
    items = tuple(islice(_items(benchmark, subset, found, []), count))
    if len(items) < count:
        where = "on the hub" if data is None else f"under {data}"
        raise ConfigError(
            f"{task_name(benchmark, subset)}: {count} demonstrations are asked for, "
            f"{len(items)} are {where}"
        )
    return _Preamble(items=items)


def _split_prompt_file(path: Path) -> list[str]:
    """Split a prompt file of BIG-Bench Hard into its description and demonstrations."""
    text = path.read_text(encoding="utf-8").partition("-----\n")[2].strip()
    return [part.strip() for part in re.split(r"\n\n(?=Q: )", text)]


def _examples(
    benchmark: Benchmark,
    subset: str,
    items: Sequence[Item],
    layout: str,
    preamble: _Preamble,
    skipped: list[str],
) -> Iterator[Example]:
    answer = benchmark.shots.answer if benchmark.shots is not None else ""
    shown = [_laid_out(item, layout, "") + " " + _answer(item, answer) for item in preamble.items]
    drafts = [
        RowDraft(prompt="", choices=item.choices, reference=item.reference)
        for item in items[:_ROWS_TO_INFER_FROM]
    ]
    given = benchmark.answer_type or benchmark.answer_types.get(subset)
    answer_type = given or infer_answer_type(drafts)
    defaults = Defaults(
        task=task_name(benchmark, subset),
        own_task=False,
        answer_type=answer_type,
        forced_type=given is not None,
        prompt_layout="{prompt}\n{options}",
        unlabelled=False,
        meta={"licence": benchmark.licence}
        | ({"verifier": benchmark.verifier} if benchmark.verifier else {}),
    )
    seen: set[str] = set()
    for item in items:
        prompt = "\n\n".join(
            [
                *preamble.texts,
                *shown,
                _laid_out(item, layout, "" if preamble.texts else preamble.description),
            ]
        )
        if preamble.texts and preamble.description:
            prompt = f"{preamble.description}\n\n{prompt}"
        meta = {
            **item.meta,
            **({"turns": list(item.turns)} if item.turns else {}),
            ASKED: "\n".join(filter(None, (item.passage, item.question))),
        }
        identity = item.id or _identity(item)
        if identity in seen:
            continue  # the source repeats it
        seen.add(identity)
        draft = RowDraft(
            prompt=prompt,
            id=identity,
            choices=item.choices,
            reference=item.reference,
            meta=meta,
        )
        try:
            yield build(draft, defaults)
        except Unusable as error:
            skipped.append(f"{defaults.task} / {identity}: {error}")


def _identity(item: Item) -> str:
    """Return an id that depends on the question alone, and so is the same under every layout."""
    return fingerprint([_key(item), str(item.reference)], length=16)


def _answer(item: Item, template: str) -> str:
    """Return the answer of a demonstration."""
    reference = item.reference
    if item.choices is not None and isinstance(reference, int):
        reference = f"({chr(ord('A') + reference)})"
    return _filled(template, {"reference": str(reference), "solution": item.solution})


def _laid_out(item: Item, layout: str, description: str) -> str:
    """Return the item as ``layout`` writes it."""
    choices = item.choices or ()
    letters = [chr(ord("A") + i) for i in range(len(choices))]
    pairs = list(zip(letters, choices, strict=True))
    places = {
        "description": f"{description}\n\n" if description else "",
        "passage": f"{item.passage}\n\n" if item.passage else "",
        "question": item.question,
        "input": item.input or item.question,
        "options": "\n".join(f"({letter}) {text}" for letter, text in pairs),
        "options_inline": " ".join(
            f"({letter}) {text.strip().removesuffix('.')}." for letter, text in pairs
        ),
        "options_joined": " ".join(f"({letter}){text}" for letter, text in pairs),
        "options_dotted": "\n".join(f"{letter}. {text}" for letter, text in pairs),
        "first": letters[0] if letters else "",
        "last": letters[-1] if letters else "",
    }
    return _filled(layout, places)


def _filled(template: str, places: Mapping[str, str]) -> str:
    """Fill the places of ``template`` in one pass, so that filled-in text is not filled again."""
    return _PLACE.sub(lambda match: places.get(match[1], match[0]), template)
