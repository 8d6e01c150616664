"""Messages as the tokens of one model: its own chat template, the same in training and when it is asked.

Special tokens inside what a user or a teacher wrote are text, never control: they are tokenised apart.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jinja2 import TemplateError

from orcinus.core.types import Message, Messages

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}\n\n"
    "{% else %}{{ message.content }}\n\n{% endif %}{% endfor %}"
)
FALLBACKS = {"chatml": CHATML, "plain": PLAIN}
_MARK = "\ue000{}\ue001"
"""Stands for a message's text while the template is rendered; from the private use area, so that no text has it."""


class Chat:
    """The chat format of one tokenizer."""

    def __init__(self, tokenizer: Any, *, fallback: str) -> None:
        """Use the tokenizer's own template, or ``fallback`` (``chatml`` or ``plain``) when it has none."""
        self.tokenizer = tokenizer
        self._template = None if tokenizer.chat_template else FALLBACKS[fallback]
        self._special = tuple(token for token in tokenizer.all_special_tokens if token)
        self._takes_system = self._has_system_turn()

    @property
    def template(self) -> str:
        """The Jinja template that is used."""
        return self._template or str(self.tokenizer.chat_template)

    def prompt(self, messages: Messages) -> list[int]:
        """The tokens after which the model writes its answer.

        Where the template has no system turn (Gemma, Mistral) the system message stands before the first question.
        """
        messages = self.folded(messages)
        return self._tokens(self._render(messages, generation=True), messages)

    def continued(self, messages: Messages, partial: str) -> tuple[list[int], int]:
        """Return the prompt followed by the reply so far, and how many of the tokens are the reply's."""
        written = self._tokens(_mark(0), (Message(role="assistant", content=partial),))
        return self.prompt(messages) + written, len(written)

    def lesson(
        self, messages: Messages, completion: str, reasoning: str | None = None
    ) -> tuple[list[int], int]:
        """The tokens of a whole lesson, and how many of them are the prompt.

        The rest is what the student learns to write: everything after the generation prompt, the token that ends the turn
        included and whatever the template puts behind it left out.
        """
        messages = self.folded(messages)
        end, thought = _mark(len(messages)), _mark(len(messages) + 1)
        thinking = f"<think>\n{thought}\n</think>\n\n" if reasoning is not None else ""
        prompt_text = self._render(messages, generation=True)
        whole = self._render(
            messages,
            answer={"role": "assistant"} | ({"reasoning_content": thought} if thinking else {}),
        )
        if thinking and thought not in whole:
            # The template has no place for reasoning: it is written as models do that think aloud.
            whole = whole.replace(end, thinking + end)
        if not whole.startswith(prompt_text):
            # The template writes the turn otherwise than it announces it (it may drop a think block): learn the text alone.
            whole = prompt_text + thinking + end
        written = whole[len(prompt_text) :]
        tail = written.partition(end)[2]
        written = written[: len(written) - len(tail)] + self._end_of_turn(tail)
        texts = (
            *messages,
            *(
                Message(role="assistant", content=text)
                for text in (completion, (reasoning or "").strip("\n"))
            ),
        )
        prompt = self._tokens(prompt_text, texts)
        return prompt + self._tokens(written, texts), len(prompt)

    def _end_of_turn(self, tail: str) -> str:
        """What ends the turn: ``tail`` up to its first special token, or the tokenizer's end of sequence."""
        ends = [tail.find(token) + len(token) for token in self._special if token in tail]
        return tail[: min(ends)] if ends else (self.tokenizer.eos_token or "")

    def _has_system_turn(self) -> bool:
        try:
            return _mark(0) in self._render(
                (Message(role="system", content=""), Message(role="user", content=""))
            )
        except TemplateError:
            return False

    def folded(self, messages: Messages) -> Messages:
        """The conversation as the template can write it: without a system turn where it has none."""
        if (
            self._takes_system
            or len(messages) < 2
            or messages[0].role not in ("system", "developer")
        ):
            return messages
        first = replace(messages[1], content=f"{messages[0].content}\n\n{messages[1].content}")
        return (first, *messages[2:])

    def _render(
        self, messages: Messages, *, generation: bool = False, answer: dict[str, Any] | None = None
    ) -> str:
        """The conversation with a mark in place of each text."""
        turns: list[dict[str, Any]] = [
            {"role": message.role, "content": _mark(i)} for i, message in enumerate(messages)
        ]
        if answer is not None:
            turns.append({**answer, "content": _mark(len(messages))})
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generation, chat_template=self._template
        )
        return text

    def _tokens(self, rendered: str, texts: Sequence[Message]) -> list[int]:
        """The tokens of a rendered conversation, its marks replaced by the texts they stand for."""
        if not any(token in message.content for message in texts for token in self._special):
            for i, message in enumerate(texts):
                rendered = rendered.replace(_mark(i), message.content)
            return self._encode(rendered, literal=False)
        ids: list[int] = []
        for piece in rendered.split("\ue000"):
            number, closed, rest = piece.partition("\ue001")
            if closed:
                ids += self._encode(texts[int(number)].content, literal=True)
            ids += self._encode(rest if closed else piece, literal=False)
        return ids

    def _encode(self, text: str, *, literal: bool) -> list[int]:
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=literal)
        return list(encoded["input_ids"])


def _mark(number: int) -> str:
    return _MARK.format(number)
