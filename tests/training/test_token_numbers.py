"""Numbers of tokens: from parts of a text to tokens, through packing, to the objectives."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import accumulate, permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.training.test_objectives import made
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.token_bytes import align, bytes_written
from orcinus.core.types import Lesson, Message
from orcinus.models.local.chat_format import Chat
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.training.batches import PackedRows, collate
from orcinus.training.head import Head
from orcinus.training.objectives import LossInputs, find_objective
from orcinus.training.objectives.interface import scale_to_mean_one
from orcinus.training.scratch_model import make_tokenizer
from orcinus.training.token_numbers import token_numbers
from orcinus.training.tokens import tokenize_lessons

QUESTION = (Message(role="user", content="Well?"),)
TEXTS = (
    "17 + 25 = 42, so the answer is running.",
    "Zoë naïvely ate 3 jalapeños — 😀👍🏽!\n\n  - 東京, Ünïcode\tand more.",
    "  leading blanks\n\n1. one step\n2. another one\nThe answer is 7.",
)


def byte_level(vocabulary: int) -> PreTrainedTokenizerFast:
    return make_tokenizer(TEXTS, vocabulary, 512)


def sentencepiece_like(model: str) -> PreTrainedTokenizerFast:
    """Tokenizers as Llama 2 (BPE with byte fallback) and T5 (Unigram) have them."""
    special = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer: Any
    if model == "bpe":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, limit_alphabet=40)
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>"
        )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()]
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return wrapped(tokenizer, eos_token="</s>", unk_token="<unk>")


def word_piece() -> PreTrainedTokenizerFast:
    """A tokenizer as BERT has it: lower case, accents stripped, blanks dropped."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer: Any = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[SEP]"])
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return wrapped(tokenizer, eos_token="[SEP]", unk_token="[UNK]")


def wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


TOKENIZERS: Mapping[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": lambda: byte_level(420),
    "bytes": lambda: byte_level(262),
    "byte-fallback": lambda: sentencepiece_like("bpe"),
    "unigram": lambda: sentencepiece_like("unigram"),
    "word-piece": word_piece,
}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make() for name, make in TOKENIZERS.items()}


@pytest.mark.parametrize(("theirs", "ours"), [*permutations(TOKENIZERS, 2)])
def test_the_tokens_of_two_tokenizers_are_grouped_at_every_common_boundary(
    theirs: str, ours: str, tokenizers: dict[str, PreTrainedTokenizerFast]
) -> None:
    teacher: Any = tokenizers[theirs]
    chat = Chat(tokenizers[ours], fallback="plain")

    def decode(tokens: list[int]) -> str:
        return str(teacher.decode(tokens, skip_special_tokens=True))

    for source in TEXTS:
        ids = teacher(source, add_special_tokens=False)["input_ids"]
        text = decode(ids)  # what such a teacher would have written
        whole = text.encode()
        lengths = bytes_written(decode, ids)
        assert sum(lengths) == len(whole)
        written, own = chat.written_tokens(QUESTION, text)
        ends = [len(whole), *accumulate(own)]
        tail = len(written.encode()) - len(whole)
        groups = align([*lengths, tail], own, written.encode())
        characters = set(accumulate((len(c.encode()) for c in text), initial=0))
        common = set(accumulate(lengths)) & set(ends) & characters - {0}
        assert len(groups) == len(common) + 1  # and what the template adds
        assert [i for group in groups for i in group.theirs] == list(range(len(lengths) + 1))
        assert [i for group in groups for i in group.ours] == list(range(len(own)))


def with_logprobs(lengths: list[int], values: list[float | None], **more: float) -> Lesson:
    parts = {"bytes": lengths, "values": values, **more}
    return made(0, "running fast", teacher_logprob=parts)


def test_a_teachers_tokens_give_their_sum_to_the_students(tiny_student: Path) -> None:
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="plain")
    text, own = chat.written_tokens(QUESTION, "running fast")
    assert text.startswith("running fast")
    lesson = with_logprobs([3, 4, 5], [-1.0, -0.5, -3.0])
    found = token_numbers("teacher_logprob", lesson, chat)
    starts = token_numbers("teacher_group", lesson, chat)
    ends = list(accumulate(own))
    assert {3, 7, 12} <= set(ends)  # this tokenizer knows single letters here
    assert len(found) == len(starts) == len(own)
    assert sum(found[: ends.index(7) + 1]) == pytest.approx(-1.5)
    assert sum(found[ends.index(7) + 1 : ends.index(12) + 1]) == pytest.approx(-3.0)
    assert found[-1] != found[-1]  # the end of the turn
    assert starts[0] == starts[ends.index(3) + 1] == starts[ends.index(7) + 1] == starts[-1] == 1
    assert sum(starts) == 4
    with_end = with_logprobs([7, 5], [-1.5, -3.0], end=-0.25)
    assert token_numbers("teacher_logprob", with_end, chat)[-1] == -0.25
    unknown = token_numbers("teacher_logprob", with_logprobs([7, 5], [None, -3.0]), chat)
    assert unknown[0] != unknown[0]
    other_text = token_numbers("teacher_logprob", with_logprobs([7, 9], [-1.5, -3.0]), chat)
    assert all(value != value for value in other_text)


def test_reasoning_has_the_numbers_of_its_own_text(tiny_student: Path) -> None:
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    parts = {"bytes": [3, 2, 3], "values": [0.25, 0.5, 0.75], "rest": 0.125}
    lesson = replace(made(0, "7 6", validity=parts), reasoning="one\n\n")
    text, own = chat.written_tokens(lesson.messages, lesson.completion, lesson.reasoning)
    found = token_numbers("validity", lesson, chat)
    by_place = dict(zip(accumulate(own), found, strict=True))
    whole = text.encode()
    assert by_place[whole.index(b"one") + 3] == 0.25
    assert by_place[whole.rindex(b"7 6") + 3] == 0.75
    assert found[-1] == found[0] == 0.125  # the end of the turn, and the tag before the reasoning
    assert 0.5 not in found  # blanks that the template does not write


@pytest.mark.parametrize("share_prompts", [True, False])
def test_packing_and_collation_keep_each_number_with_its_token(
    tiny_student: Path, tmp_path: Path, share_prompts: bool
) -> None:
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="plain")
    lessons = []
    for number, text in enumerate(("seven", "eight and nine", "ten", "one two three")):
        size = len(text)
        parts = {"bytes": [1, size - 1], "values": [number + 0.25, number + 0.5], "rest": number}
        meta: dict[str, Any] = {} if number == 2 else {"validity": parts}
        lessons.append(made(number % 2, text, **meta))
    tokenized = tokenize_lessons(
        lessons, chat, tmp_path, context=64, truncation="drop", evidence=("difficulty", "validity")
    )
    assert tokenized.given == {"validity": 3}
    rows = PackedRows(tokenized, context=48, epochs=1, seed=0, share_prompts=share_prompts)
    assert len(rows) > 1
    batch = collate([rows[i] for i in range(len(rows))])
    numbers, lesson = batch["evidence"]["validity"], batch["lesson"]
    assert numbers.shape == lesson.shape == batch["row"].shape
    assert batch["row"].tolist() == sorted(batch["row"].tolist())
    seen = []
    for one in lesson.unique():
        of_lesson = numbers[lesson == one]
        text = chat.tokenizer.decode(batch["input_ids"][0, batch["response"]][lesson == one])
        number = next(i for i, item in enumerate(lessons) if item.completion in text)
        seen.append(number)
        expected = token_numbers("validity", lessons[number], chat)
        assert number == 2 or torch.equal(of_lesson, torch.tensor(expected))
        assert bool(of_lesson.isnan().all()) == (number == 2)
    assert sorted(seen) == [0, 1, 2, 3]


def inputs_of(
    logprobs: list[float], evidence: Mapping[str, list[float]], lesson: list[int] | None = None
) -> LossInputs:
    """Inputs whose own losses are those of the log-probabilities: one hidden state a token."""
    count = len(logprobs)
    own = torch.tensor(logprobs, dtype=torch.float64)
    other = torch.log1p(-own.exp())
    of_lesson = torch.tensor(lesson or [0] * count)
    return LossInputs(
        hidden_ND=torch.stack([own, other], dim=1).requires_grad_(),
        head=Head(weight_VD=torch.eye(2, dtype=torch.float64)),
        targets_N=torch.zeros(count, dtype=torch.long),
        weights_N=torch.ones(count, dtype=torch.float64),
        lesson_N=of_lesson,
        row_N=torch.zeros(count, dtype=torch.long),
        evidence={name: torch.tensor(v, dtype=torch.float64) for name, v in evidence.items()},
        logprobs_N=own,
    )


def token_weights(objective: str, inputs: LossInputs, **settings: Any) -> list[float]:
    """The weight of each token, read off the gradient: of one logit it is w (p - 1)."""
    out = find_objective(objective, settings).loss(inputs)
    torch.autograd.backward(out.total)
    assert inputs.hidden_ND.grad is not None
    own = torch.exp(-out.losses_N)
    found: list[float] = (inputs.hidden_ND.grad[:, 0] / (own - 1)).tolist()
    return found


@pytest.mark.parametrize(
    ("tau", "normalise", "expected"),
    [
        (1.0, False, [0.8, 1.0, 0.11765]),
        (1.0, True, [1.2515, 1.5644, 0.1840]),
        (2.0, False, [0.89898, 1.0, 0.4]),
        (2.0, True, [1.1731, 1.3049, 0.5220]),
    ],
)
def test_a_token_weighs_by_the_ratio_of_student_and_teacher(
    tau: float, normalise: bool, expected: list[float]
) -> None:
    teacher = torch.tensor([0.9, 0.5, 0.8]).double().log().tolist()
    own = torch.tensor([0.6, 0.5, 0.05]).double().log().tolist()
    inputs = inputs_of(own, {"teacher_logprob": teacher, "teacher_group": [1, 1, 1]})
    found = token_weights("distribution_corrected", inputs, tau=tau, normalise=normalise)
    assert found == pytest.approx(expected, abs=1e-4)


def test_tokens_of_one_group_share_a_weight_and_unknown_ones_weigh_one() -> None:
    one = inputs_of([-2.0], {"teacher_logprob": [-1.5], "teacher_group": [1]})
    assert token_weights("distribution_corrected", one, normalise=False) == pytest.approx(
        [0.75508], abs=1e-5
    )
    nan = float("nan")
    several = inputs_of(
        [-1.0, -2.0, -0.1, -1.0],
        {"teacher_logprob": [-0.75, -0.75, nan, -1.0], "teacher_group": [1, 0, 1, 0]},
        lesson=[0, 0, 0, 1],
    )  # of the other lesson the group begins even where its mark is lost
    found = token_weights("distribution_corrected", several, normalise=False)
    of_two = float(2 * torch.sigmoid(torch.tensor(-1.5 + 0.75)))
    assert found == pytest.approx([of_two, of_two, 1.0, 1.0], abs=1e-6)


def test_scaled_weights_are_capped() -> None:
    nan = float("nan")
    own = [-1.0, *[-20.0] * 9]
    evidence = {"teacher_logprob": [-1.0, *[-0.1] * 9], "teacher_group": [1.0] * 10}
    assert max(token_weights("distribution_corrected", inputs_of(own, evidence))) == 4.0
    with pytest.raises(StepError, match="all token weights of a batch are 0, or one of them is"):
        scale_to_mean_one(torch.zeros(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(StepError, match="is not a number"):
        scale_to_mean_one(torch.tensor([1.0, nan]), torch.zeros(2, dtype=torch.long))


def test_a_row_is_scaled_by_itself() -> None:
    found = scale_to_mean_one(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]))
    assert found.tolist() == [0.5, 1.5, 1.0]
    assert scale_to_mean_one(torch.empty(0), torch.empty(0, dtype=torch.long)).shape == (0,)


def test_step_weights_multiply_the_loss_and_missing_ones_are_the_lessons_mean() -> None:
    evidence = {"validity": [0.98201, 0.98201, 0.26894, 0.26894, 0.26894]}
    own = [-1.0] * 5
    out = find_objective("token_weight", {"normalise": False}).loss(inputs_of(own, evidence))
    assert float(out.total.detach()) == pytest.approx(2.77085, abs=1e-5)
    nan = float("nan")
    some = inputs_of(own, {"validity": [1.0, 0.5, nan, nan, nan]}, lesson=[0, 0, 0, 1, 1])
    assert token_weights("token_weight", some, normalise=False) == pytest.approx(
        [1, 0.5, 0.75, 1, 1]
    )


def test_a_recipe_without_the_teachers_logprobs_is_refused(tmp_path: Path) -> None:
    train = {"objective": {"name": "distribution_corrected", "settings": {"tau": 2}}}
    with pytest.raises(ConfigError, match=r"is not asked for them; set teach\.sampling\.logprobs"):
        load_recipe(write_recipe(tmp_path / "a.yaml", train=train))
    teach = {"sampling": {"max_tokens": 64, "logprobs": True}}
    recipe = load_recipe(write_recipe(tmp_path / "b.yaml", train=train, teach=teach))
    assert recipe.train.without_numbers_of_steps().objective.name == "lesson_weight"
    assert recipe.train.needs_teacher_logprobs
