r"""Read the rows of benchmarks, in their original layouts and in those of their copies on the hub.

    RACE   {"article": …, "questions": [q, q], "options": [[…], […]], "answers": ["A", "C"]}
           →  two Items
    GSM8K  {"question": "… how many?", "answer": "48 / 2 = 24 …\\n#### 72"}
           →  one Item

An Item holds what the benchmark says, before a layout turns it into a prompt.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orcinus.tasks.files.drafts import Unusable
from orcinus.tasks.files.layouts import draft_of
from orcinus.verifiers.answers.solutions import last_box

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a benchmark."""

    question: str
    """The question without its options and passage."""
    reference: Any = None
    """The right answer as the source has it: a letter, an index, a text, several texts."""
    passage: str = ""
    choices: tuple[str, ...] | None = None
    input: str | None = None
    """The question with its options as the source writes them; None where it does not."""
    solution: str = ""
    """A worked solution, for demonstrations."""
    id: str | None = None
    turns: tuple[str, ...] = ()
    """The further questions of a conversation of several turns."""
    meta: Mapping[str, Any] = field(default_factory=dict)


def _bbh(row: Fields) -> Iterator[Item]:
    draft = draft_of(row, "bbh")
    yield Item(
        question=_OPTIONS.sub("", draft.prompt),
        input=draft.prompt,
        choices=None if draft.choices is None else tuple(draft.choices),
        reference=draft.reference,
    )


_OPTIONS = re.compile(r"\n\s*Options:\s*\n(?:\s*(?:\([A-Z]\)|-).*(?:\n|$))+\s*$")


def _agieval(row: Fields) -> Iterator[Item]:
    draft = draft_of(row, "agieval")
    yield Item(
        question=str(row["question"]),
        passage=str(row.get("passage") or ""),
        choices=None if draft.choices is None else tuple(draft.choices),
        reference=draft.reference,
    )


def _gsm8k(row: Fields) -> Iterator[Item]:
    solution = str(row["answer"])
    yield Item(
        question=str(row["question"]),
        reference=solution.rsplit("####", 1)[-1].strip(),
        solution=solution,
    )


def _maths(row: Fields) -> Iterator[Item]:
    solution = str(row["solution"])
    box = last_box(solution)
    reference = row.get("answer") or (box and box.content)
    if reference is None:
        raise Unusable("the solution holds no \\boxed{…}, so there is no reference")
    meta = {name: row[name] for name in ("level", "type", "subject") if row.get(name)}
    yield Item(question=str(row["problem"]), reference=str(reference), solution=solution, meta=meta)


def _mmlu(row: Fields) -> Iterator[Item]:
    choices = row["choices"] if "choices" in row else [row[letter] for letter in "ABCD"]
    yield Item(
        question=str(row["question"]), choices=tuple(map(str, choices)), reference=row["answer"]
    )


def _arc(row: Fields) -> Iterator[Item]:
    stem = row["question"]
    listed = stem["choices"] if isinstance(stem, Mapping) else row["choices"]
    if isinstance(listed, Mapping):
        labels, texts = list(listed["label"]), list(listed["text"])
    else:
        labels, texts = [item["label"] for item in listed], [item["text"] for item in listed]
    if row["answerKey"] not in labels:
        raise Unusable(f"the answer {row['answerKey']!r} is none of the labels {', '.join(labels)}")
    yield Item(
        id=str(row["id"]),
        question=str(stem["stem"] if isinstance(stem, Mapping) else stem),
        choices=tuple(texts),
        reference=labels.index(row["answerKey"]),
    )


def _race(row: Fields) -> Iterator[Item]:
    if "questions" not in row:  # the hub has a row for each question, and an id for each passage
        passage_id = str(row.get("example_id", ""))
        yield Item(
            question=str(row["question"]),
            passage=str(row["article"]),
            choices=tuple(row["options"]),
            reference=row["answer"],
            meta={"passage_id": passage_id},
        )
        return
    for i, question in enumerate(row["questions"]):
        yield Item(
            question=str(question),
            passage=str(row["article"]),
            choices=tuple(row["options"][i]),
            reference=row["answers"][i],
            id=f"{row['id']}#{i}",
            meta={"passage_id": str(row["id"])},
        )


def _drop(row: Fields) -> Iterator[Item]:
    # The original file is one object of passages, each with its questions.
    if "qa_pairs" in row or "passage" not in row:
        passages = {"": row} if "qa_pairs" in row else row
        for name, entry in passages.items():
            for pair in entry["qa_pairs"]:
                answers = [pair["answer"], *pair.get("validated_answers", ())]
                yield Item(
                    id=str(pair["query_id"]),
                    question=str(pair["question"]),
                    passage=str(entry["passage"]),
                    reference=_distinct(" and ".join(_drop_spans(answer)) for answer in answers),
                    meta={
                        "passage_id": name,
                        "spans": [spans for answer in answers if (spans := _drop_spans(answer))],
                    },
                )
        return
    spans = row["answers_spans"]["spans"]
    yield Item(
        id=str(row["query_id"]),
        question=str(row["question"]),
        passage=str(row["passage"]),
        reference=_distinct(map(str, spans)),
        meta={"passage_id": str(row.get("section_id", ""))},
    )


def _drop_spans(answer: Fields) -> list[str]:
    """Return an answer of DROP, a number, spans or a date, as texts."""
    if answer.get("number"):
        return [str(answer["number"])]
    if answer.get("spans"):
        return [str(span) for span in answer["spans"]]
    date = answer.get("date") or {}
    text = " ".join(str(date[part]) for part in ("day", "month", "year") if date.get(part))
    return [text] if text else []


def _distinct(texts: Iterator[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text for text in texts if text))
    if not found:
        raise Unusable("no answer is given")
    return found


def _crass(row: Fields) -> Iterator[Item]:
    """Read the published table: the right answer is in the first column after the question."""
    cells = [str(value or "").strip() for value in row.values()]
    options = tuple(cell for cell in cells[4:8] if cell)
    if len(options) < 2:
        raise Unusable(
            "fewer than two answers; "
            "the columns are id, number, premise, question, right answer, others"
        )
    yield Item(question=f"{cells[2]} {cells[3]}", choices=options, reference=0)


_HELLASWAG_MARK = re.compile(r"\[.*?\]")


def _hellaswag(row: Fields) -> Iterator[Item]:
    context = row.get("ctx") or f"{row['ctx_a']} {str(row['ctx_b']).capitalize()}"
    endings = tuple(_without_markup(str(ending)) for ending in row["endings"])
    question = f"{row['activity_label']}: {_without_markup(str(context))}"
    yield Item(id=str(row["ind"]), question=question, choices=endings, reference=int(row["label"]))


def _without_markup(text: str) -> str:
    """Remove WikiHow's markup, as lm-evaluation-harness does."""
    return " ".join(_HELLASWAG_MARK.sub("", text.replace(" [title]", ". ")).split())


def _lambada(row: Fields) -> Iterator[Item]:
    before, _, word = str(row["text"]).rstrip().rpartition(" ")
    if not before:
        raise Unusable("a text of one word has no last word to guess")
    yield Item(question=before, reference=word)


def _scored_choices(row: Fields) -> Iterator[Item]:
    """Read options with scores, of which the highest is right.

    This is the layout of TruthfulQA, HHH and other tasks of BIG-bench, there and on the hub.
    """
    question = row.get("question") or row.get("input")
    scores = next(
        (row[name] for name in ("mc1_targets", "targets", "target_scores") if name in row), None
    )
    if question is None or not isinstance(scores, Mapping):
        raise Unusable(
            f"no question with scored options among the columns {', '.join(map(str, row))}"
        )
    if "choices" in scores:
        options, values = list(scores["choices"]), list(scores["labels"])
    else:
        options, values = list(scores), list(scores.values())
    right = max(values)
    if not right > 0 or values.count(right) != 1:
        raise Unusable("not exactly one option is right")
    yield Item(
        question=str(question), choices=tuple(map(str, options)), reference=values.index(right)
    )


def _toxigen(row: Fields) -> Iterator[Item]:
    """Read a statement: toxic if the human and the model score sum to more than 5.5 of 10.

    lm-evaluation-harness uses the same threshold.
    """
    toxic = float(row["toxicity_human"]) + float(row["toxicity_ai"]) > 5.5
    yield Item(
        question=str(row["text"]),
        choices=("Toxic", "Neutral"),
        reference=0 if toxic else 1,
        meta={"category": str(row.get("target_group", "")), "sensitive": True},
    )


def _conversation(row: Fields) -> Iterator[Item]:
    """Read open questions of one or several turns: MT-Bench, Vicuna's 80, WizardLM's test set."""
    text = (
        row.get("turns")
        or row.get("prompt")
        or row.get("text")
        or row.get("Instruction")
        or row.get("instruction")
    )
    turns = [text] if isinstance(text, str) else list(text or ())
    if not turns:
        raise Unusable(f"no question among the columns {', '.join(map(str, row))}")
    identity = next(
        (row[name] for name in ("question_id", "prompt_id", "idx") if row.get(name) is not None),
        None,
    )
    category = row.get("category") or row.get("Skill")
    reference = row.get("reference") or None
    yield Item(
        id=None if identity is None else str(identity),
        question=str(turns[0]),
        turns=tuple(map(str, turns[1:])),
        meta={
            "references": list(reference) if reference else [],
            **({"category": str(category)} if category else {}),
        },
    )


def _ifeval(row: Fields) -> Iterator[Item]:
    meta = {
        "instructions": list(row["instruction_id_list"]),
        "arguments": [dict(item) for item in row["kwargs"]],
    }
    yield Item(id=str(row["key"]), question=str(row["prompt"]), meta=meta)


def _qmsum(row: Fields) -> Iterator[Item]:
    turns = [f"{turn['speaker']}: {turn['content']}" for turn in row["meeting_transcripts"]]
    for query in (*row.get("general_query_list", ()), *row.get("specific_query_list", ())):
        spans = query.get("relevant_text_span")
        parts = (
            turns
            if not spans
            else [turns[i] for first, last in spans for i in range(int(first), int(last) + 1)]
        )
        text = "\n".join(parts)
        yield Item(
            question=str(query["query"]),
            passage=text,
            solution=str(query["answer"]),
            meta={"context": text},
        )


def _aci_bench(row: Fields) -> Iterator[Item]:
    dialogue = str(row.get("dialogue") or row["src"])
    note = str(row.get("note") or row.get("tgt") or "")
    identity = row.get("encounter_id") or row.get("id")
    yield Item(
        id=None if identity is None else str(identity),
        question="",
        passage=dialogue,
        solution=note,
        meta={"context": dialogue},
    )


READERS: Mapping[str, Callable[[Fields], Iterator[Item]]] = {
    "bbh": _bbh,
    "agieval": _agieval,
    "gsm8k": _gsm8k,
    "maths": _maths,
    "mmlu": _mmlu,
    "arc": _arc,
    "race": _race,
    "drop": _drop,
    "crass": _crass,
    "hellaswag": _hellaswag,
    "lambada": _lambada,
    "scored_choices": _scored_choices,
    "toxigen": _toxigen,
    "conversation": _conversation,
    "ifeval": _ifeval,
    "qmsum": _qmsum,
    "aci_bench": _aci_bench,
}
"""The readers of rows, by the name that a benchmark's YAML file gives as ``rows``."""
