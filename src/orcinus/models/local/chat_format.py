"""Tokenize conversations with a model's own chat template, alike in training and in inference.

Special tokens inside a message are text, never control: such a message is tokenized separately.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from jinja2 import TemplateError

from orcinus.core.errors import ConfigError
from orcinus.core.types import Message, Messages, Role

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}\n\n"
    "{% else %}{{ message.content }}\n\n{% endif %}{% endfor %}"
)
FALLBACKS = {"chatml": CHATML, "plain": PLAIN}
_SYSTEM_ROLES = ("system", "developer")
_TEMPLATE_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TemplateError,
    TypeError,
    ValueError,
)
"""The errors of templates: their own ``raise_exception``, and those of the Python inside them."""
_MARK = "\ue000{}\ue001"
"""Stands for a message's text while the template is rendered. Its characters come from the private
use area, which no text uses."""


class Chat:
    """The chat format of one tokenizer."""

    def __init__(self, tokenizer: Any, *, fallback: str) -> None:
        """Use the tokenizer's template; if it has none, ``fallback`` (``chatml`` or ``plain``).

        A fallback begins with the token that the tokenizer puts before every text, if it does.

        Raises:
            ConfigError: The template fails, or leaves out the question or the answer.
        """
        self.tokenizer = tokenizer
        self._fallback = "" if tokenizer.chat_template else fallback
        self._template = None
        if self._fallback:
            first = "{{ bos_token }}" if _begins_with_bos(tokenizer) else ""
            self._template = first + FALLBACKS[fallback]
        # Tokens with a role (end, padding) are few; the others are special only in the list of
        # added tokens, such as <start_of_turn> of Gemma 3.
        added = tokenizer.added_tokens_decoder.values()
        self._added = frozenset(str(token) for token in added)
        self._special = frozenset(filter(None, tokenizer.all_special_tokens)) | {
            str(token) for token in added if token.special
        }
        self._taken: dict[tuple[Role, ...], bool] = {}
        self._check_template()

    @property
    def template(self) -> str:
        """The Jinja template in use."""
        return self._template or str(self.tokenizer.chat_template)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user about what the tokenizer lacks."""
        found = []
        if self._fallback:
            found.append(
                f"the tokenizer has no chat template: questions and lessons use {self._fallback!r} "
                "(chat_template chooses it)"
            )
        if not self.end_tokens:
            found.append(
                "the tokenizer has no end-of-sequence token and the chat template ends an answer "
                "with none, so no answer ends before its limit; set eos_token in "
                "tokenizer_config.json"
            )
        if self._writes_the_date():
            found.append(
                "the chat template writes today's date, so prompts and lessons of another day "
                "differ; write a fixed date into it for runs that can be repeated"
            )
        return tuple(found)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer in this format."""
        question = (Message(role="user", content=""),)
        whole = self._render(question, answer={"role": "assistant"})
        end = self._end_of_turn(whole.partition(_mark(1))[2])
        names = [token for token in self._added | self._special if token and end.endswith(token)]
        return frozenset(
            number
            for name in (max(names, key=len, default=None), self.tokenizer.eos_token)
            if name is not None
            and (number := self.tokenizer.convert_tokens_to_ids(name)) is not None
            and number != self.tokenizer.unk_token_id
        )

    def prompt(self, messages: Messages) -> list[int]:
        """Return the tokens that the model continues with its answer.

        Raises:
            ConfigError: The template refuses the conversation, or leaves out a message.
        """
        messages = self.fit(messages)
        return self._tokens(self._render_all(messages, generation=True), messages)

    def partial_prompt(self, messages: Messages, partial: str) -> tuple[list[int], int]:
        """Return the prompt followed by a partial reply, and the number of the reply's tokens."""
        written = self._tokens(_mark(0), (Message(role="assistant", content=partial),))
        return self.prompt(messages) + written, len(written)

    def lesson(
        self, messages: Messages, completion: str, reasoning: str | None = None
    ) -> tuple[list[int], int]:
        """Return the tokens of a whole lesson, and the number of the prompt's tokens.

        The student learns to write the rest: everything after the generation prompt up to and
        including the token that ends the turn. Text that the template adds after it is left out.

        Args:
            messages: The prompt.
            completion: The answer.
            reasoning: The separate reasoning, if there is one.

        Raises:
            ConfigError: The template refuses the conversation, or leaves out a message.
        """
        prompt_text, written, texts = self._render_lesson(messages, completion, reasoning)
        prompt = self._tokens(prompt_text, texts)
        return prompt + self._tokens(written, texts), len(prompt)

    def written_tokens(
        self, messages: Messages, completion: str, reasoning: str | None = None
    ) -> tuple[str, list[int]]:
        """Return the text that a student learns to write, and the bytes of each of its tokens.

        The tokens are those behind the prompt of ``lesson``, with the same arguments.

        Raises:
            ConfigError: The template refuses the conversation, or the tokenizer does not say where
                its tokens are in a text.
        """
        if not self.tokenizer.is_fast:
            raise ConfigError(
                "the student's tokenizer does not say where its tokens are in a text, which the "
                "objective needs; use a fast tokenizer (tokenizer.json)"
            )
        _, written, texts = self._render_lesson(messages, completion, reasoning)
        text, lengths = "", list[int]()
        for piece, literal in self._pieces(written, texts):
            spans = self.tokenizer(
                piece,
                add_special_tokens=False,
                split_special_tokens=literal,
                return_offsets_mapping=True,
            )["offset_mapping"]
            lengths += _bytes_of_spans(piece, spans)
            text += piece
        return text, lengths

    def _render_lesson(
        self, messages: Messages, completion: str, reasoning: str | None
    ) -> tuple[str, str, Messages]:
        """Return a lesson's prompt and answer with marks in place of texts, and the texts."""
        messages = self.fit(messages)
        end, thought = _mark(len(messages)), _mark(len(messages) + 1)
        thinking = f"<think>\n{thought}\n</think>\n\n" if reasoning is not None else ""
        prompt_text = self._render_all(messages, generation=True)
        whole = self._render(
            messages,
            answer={"role": "assistant"} | ({"reasoning_content": thought} if thinking else {}),
        )
        if thinking and thought not in whole:
            # The template has no place for reasoning: write it before the answer, in think tags.
            whole = whole.replace(end, thinking + end)
        if prompt_text.rstrip().endswith("<think>") and not thinking:
            # The generation prompt opens a think block; a lesson without reasoning closes it.
            thinking = "\n</think>\n\n"
            whole = prompt_text + thinking + end + whole.partition(end)[2]
        elif not whole.startswith(prompt_text):
            # The whole turn does not start with the generation prompt (a template may drop a think
            # block): learn the text alone.
            whole = prompt_text + thinking + end + whole.partition(end)[2]
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
        return prompt_text, written, texts

    def _end_of_turn(self, tail: str) -> str:
        """Return ``tail`` up to its first control token, or the tokenizer's end of sequence."""
        ends = [
            tail.find(token) + len(token)
            for token in self._special | self._added
            if token.strip() and token in tail
        ]
        return tail[: min(ends)] if ends else (self.tokenizer.eos_token or "")

    def _check_template(self) -> None:
        """Refuse a template that cannot show one question and one answer.

        Raises:
            ConfigError: It fails, or it leaves out a text.
        """
        question = (Message(role="user", content=""),)
        prompt = self._render(question, generation=True)
        whole = self._render(question, answer={"role": "assistant"})
        for text, mark, what in (
            (prompt, _mark(0), "the question"),
            (whole, _mark(0), "the question"),
            (whole, _mark(1), "the answer"),
        ):
            if mark not in text:
                raise ConfigError(
                    f"the tokenizer's chat template leaves out {what} where its content is a text; "
                    "put a template that writes message.content into the model's folder"
                )

    def fit(self, messages: Messages) -> Messages:
        """Return a conversation with the turns that the template takes.

        Some have no system turn (Gemma, Mistral), and some refuse two turns of one role. A system
        message then precedes the question after it, and neighbours of one role become one turn.
        """
        if self._takes(tuple(message.role for message in messages)):
            return messages
        head: Messages = ()
        if messages[0].role in _SYSTEM_ROLES and self._takes(("system", "user")):
            head, messages = (replace(messages[0], role="system"),), messages[1:]
        turns: list[Message] = []
        for message in messages:
            role: Role = "user" if message.role in _SYSTEM_ROLES else message.role
            if turns and turns[-1].role == role:
                text = f"{turns[-1].content}\n\n{message.content}"
                turns[-1] = replace(turns[-1], content=text)
            else:
                turns.append(replace(message, role=role))
        return (*head, *turns)

    def _takes(self, roles: tuple[Role, ...]) -> bool:
        """Return whether the template shows every turn of a conversation with these roles."""
        if roles not in self._taken:
            try:
                self._render_all(tuple(Message(role=role, content="") for role in roles))
                self._taken[roles] = True
            except ConfigError:
                self._taken[roles] = False
        return self._taken[roles]

    def _writes_the_date(self) -> bool:
        if "strftime_now" not in self.template:
            return False
        question, year = Message(role="user", content=""), time.strftime("%Y")
        conversations = ((question,), self.fit((Message(role="system", content=""), question)))
        return any(year in self._render(messages) for messages in conversations)

    def _render(
        self,
        messages: Messages,
        *,
        generation: bool = False,
        answer: dict[str, Any] | None = None,
    ) -> str:
        """Render the conversation with a mark in place of each text.

        Args:
            messages: The conversation.
            generation: End with what comes before an answer.
            answer: Fields of an answer to end with.

        Raises:
            ConfigError: The template fails, or refuses the conversation.
        """
        turns: list[dict[str, Any]] = [
            {"role": message.role, "content": _mark(i)} for i, message in enumerate(messages)
        ]
        if answer is not None:
            turns.append({**answer, "content": _mark(len(messages))})
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns,
                    tokenize=False,
                    add_generation_prompt=generation,
                    chat_template=self._template,
                )
            )
        except _TEMPLATE_FAULTS as error:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            roles = ", ".join(str(turn["role"]) for turn in turns)
            raise ConfigError(
                f"the tokenizer's chat template fails: {said} (turns: {roles})"
            ) from error

    def _render_all(self, messages: Messages, **options: Any) -> str:
        """Render the conversation, and refuse a template that leaves out one of its texts.

        Raises:
            ConfigError: The template fails, or a message is not in the text.
        """
        text = self._render(messages, **options)
        for number, message in enumerate(messages):
            if _mark(number) not in text:
                raise ConfigError(
                    f"the tokenizer's chat template leaves out message {number + 1} of "
                    f"{len(messages)} ({message.role}); it must write each message.content"
                )
        return text

    def _tokens(self, rendered: str, texts: Sequence[Message]) -> list[int]:
        """Tokenize a rendered conversation, its marks replaced by the texts."""
        ids: list[int] = []
        for piece, literal in self._pieces(rendered, texts):
            ids += self._encode(piece, literal=literal)
        return ids

    def _pieces(self, rendered: str, texts: Sequence[Message]) -> Iterator[tuple[str, bool]]:
        """Yield the parts to tokenize by themselves; True for one without control tokens."""
        if not any(token in message.content for message in texts for token in self._special):
            for i, message in enumerate(texts):
                rendered = rendered.replace(_mark(i), message.content)
            yield rendered, False
            return
        for piece in rendered.split("\ue000"):
            number, closed, rest = piece.partition("\ue001")
            if closed:
                yield texts[int(number)].content, True
            yield (rest if closed else piece), False

    def _encode(self, text: str, *, literal: bool) -> list[int]:
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=literal)
        return list(encoded["input_ids"])


def _begins_with_bos(tokenizer: Any) -> bool:
    """Return True if the tokenizer puts its token for the beginning before every text."""
    return tokenizer.bos_token_id is not None and list(tokenizer("")["input_ids"])[:1] == [
        tokenizer.bos_token_id
    ]


def _bytes_of_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the bytes of each token of ``text``, given the characters that it is in.

    Blanks that belong to no token count with the one after them. Of tokens that share a character
    each counts a byte, and the last one the rest.
    """
    places = list(accumulate((len(character.encode()) for character in text), initial=0))
    lengths: list[int] = []
    written = 0
    for i, (_, end) in enumerate(spans):
        following = spans[i + 1][0] if i + 1 < len(spans) else len(text)
        if following < end:  # the next token begins within this one's last character
            upto = min(max(written, places[following]) + 1, places[end])
        else:
            upto = places[end] if i + 1 < len(spans) else places[-1]
        lengths.append(max(0, upto - written))
        written = max(written, upto)
    return lengths


def _mark(number: int) -> str:
    return _MARK.format(number)
