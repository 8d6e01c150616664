"""Tokenize conversations with a model's own chat template, alike in training and in inference.

Special tokens inside a message are text, never control: such a message is tokenized separately.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.tool_calls import (
    as_json,
    as_plain_text,
    as_turns,
    definitions_in,
    has_tools,
    split_calls,
    with_calls,
)
from orcinus.core.types import Message, Messages, Role
from orcinus.models.local.template_limits import check_limits

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
_MARK = "\ue000{}\ue001"
"""Stands for a message's text while the template is rendered. Its characters come from the private
use area, which no text uses."""
_SPECIAL_MARK = "\ue000t{}\ue001"
"""Stands for a special token inside the JSON of a tool, so that it stays a text."""
_TOOL_PROBE: Messages = (
    Message(role="system", content="careful"),
    Message(role="tools", content='[{"name": "add", "description": "Sum.", "parameters": {}}]'),
    Message(role="user", content="question"),
    Message(
        role="assistant",
        content=with_calls(
            "words", [{"name": name, "arguments": {"of": f"{name}!"}} for name in ("one", "two")]
        ),
    ),
    Message(role="tool", content='result "1"'),
    Message(role="tool", content='result "2"'),
    Message(role="assistant", content="answer"),
)
"""A conversation with all that tools bring: words beside calls, two calls at once, two results."""
_PROBED = ("careful", "Sum.", "question", "words", "one!", "two!", 'result "1"', 'result "2"')
"""What a template must write of it, the results as they are and not as JSON."""


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
        self._literals = tuple(sorted(self._special, key=len, reverse=True))
        if not self._fallback:
            check_limits(self.template, tokenizer.special_tokens_map)
        self._check_template()
        self._shows_tools = self._check_tools()

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
        return self._tokens(self._render_all(messages, generation=True), _words_of(messages))

    def partial_prompt(self, messages: Messages, partial: str) -> tuple[list[int], int]:
        """Return the prompt followed by a partial reply, and the number of the reply's tokens."""
        written = self._tokens(_mark(0), (Message(role="assistant", content=partial),))
        return self.prompt(messages) + written, len(written)

    def lesson(
        self, messages: Messages, completion: str, reasoning: str | None = None
    ) -> tuple[list[int], int]:
        """Return the tokens of a whole lesson, and the number of the prompt's tokens.

        Without messages the lesson is a plain text, as in pretraining.

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
        if not messages:
            first = self.tokenizer.bos_token if _begins_with_bos(self.tokenizer) else ""
            plain = _mark(0) + (self.tokenizer.eos_token or "")
            return first, plain, (Message(role="assistant", content=completion),)
        messages = self.fit(messages)
        end, thought = _mark(len(messages)), _mark(len(messages) + 1)
        thinking = f"<think>\n{thought}\n</think>\n\n" if reasoning is not None else ""
        prompt_text = self._render_all(messages, generation=True)
        with_reasoning = {"reasoning_content": thought} if thinking else {}
        answer = {"role": "assistant"} | with_reasoning
        whole = self._render(messages, answer=answer)
        words, body = completion, end
        if has_tools(messages):
            words, body = self._render_calls(messages, completion, answer, whole)
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
        written = written.replace(end, body)
        texts = (
            *_words_of(messages),
            *(
                Message(role="assistant", content=text)
                for text in (words, (reasoning or "").strip("\n"))
            ),
        )
        return prompt_text, written, texts

    def _render_calls(
        self, messages: Messages, completion: str, answer: dict[str, Any], whole: str
    ) -> tuple[str, str]:
        """Return the words of an answer, and the whole of it with a mark in place of its words.

        Args:
            messages: The prompt.
            completion: The answer.
            answer: Its fields, without content and calls.
            whole: The conversation with an answer that calls nothing.
        """
        words, calls = split_calls(completion)
        end = _mark(len(messages))
        before, _, after = whole.partition(end)
        marked = Message(role="assistant", content=self._mark_words(completion, end))
        turn = as_turns((*messages, marked), arguments_as_text=False)[-1]
        calling = self._render(messages, answer={**answer, **turn})
        if not calls or not (calling.startswith(before) and calling.endswith(after)):
            return completion, end  # the template drops something: learn the calls as a text
        return words, calling[len(before) : len(calling) - len(after)]

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
        Where a template does not show all that tools bring, calls and results become texts.
        """
        if has_tools(messages):
            if self._shows_tools:
                return messages
            messages = as_plain_text(messages)
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

    def _check_tools(self) -> bool:
        """Return whether the template shows definitions, several calls beside words, and results.

        All of these, so that a student never meets calls in two forms.
        """
        try:
            turns = as_turns(_TOOL_PROBE, arguments_as_text=False)
            text = self._apply(turns, definitions_in(_TOOL_PROBE))
        except ConfigError:
            return False
        return all(part in text for part in _PROBED)

    def _mark_all(self, messages: Messages) -> Messages:
        """Return the conversation with a mark in place of all words."""
        if not has_tools(messages):
            return tuple(replace(message, content=_mark(i)) for i, message in enumerate(messages))
        return tuple(
            replace(
                message,
                content=self._guard(message.content)
                if message.role == "tools"
                else self._mark_words(message.content, _mark(i))
                if message.role == "assistant"
                else _mark(i),
            )
            for i, message in enumerate(messages)
        )

    def _mark_words(self, content: str, mark: str) -> str:
        """Return a turn of the assistant with ``mark`` in place of its words; its calls stay."""
        words, calls = split_calls(content)
        guarded = [json.loads(self._guard(as_json(call))) for call in calls]
        return with_calls(mark if words or not calls else "", guarded)

    def _guard(self, text: str) -> str:
        """Return a JSON text with marks in place of special tokens, which are only texts in it."""
        for number, token in enumerate(self._literals):
            if token in text:
                text = text.replace(token, _SPECIAL_MARK.format(number))
        return text

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
            answer: Fields of an answer to end with; without a content it has a mark.

        Raises:
            ConfigError: The template fails, or refuses the conversation.
        """
        tools = definitions_in(marked := self._mark_all(messages)) or None
        turns = as_turns(marked, arguments_as_text=False)
        if answer is not None:
            turns.append({"content": _mark(len(messages)), **answer})
        return self._apply(turns, tools, generation=generation)

    def _apply(
        self,
        turns: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        generation: bool = False,
    ) -> str:
        """Apply the template.

        Raises:
            ConfigError: It fails, or refuses the conversation.
        """
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    turns,
                    tools=tools,
                    tokenize=False,
                    add_generation_prompt=generation,
                    chat_template=self._template,
                )
            )
        except Exception as error:  # a template runs code of its own, and can raise anything
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
        tools = has_tools(messages)  # among them are turns without words
        for number, message in enumerate(_words_of(messages)):
            if _mark(number) not in text and (message.content or not tools):
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
        literal = any(token in message.content for message in texts for token in self._special)
        if not literal and _SPECIAL_MARK[:2] not in rendered:
            for i, message in enumerate(texts):
                rendered = rendered.replace(_mark(i), message.content)
            yield rendered, False
            return
        for piece in rendered.split("\ue000"):
            number, closed, rest = piece.partition("\ue001")
            if closed and number.startswith("t"):
                yield self._literals[int(number[1:])], True
            elif closed:
                yield texts[int(number)].content, True
            yield (rest if closed else piece), False

    def _encode(self, text: str, *, literal: bool) -> list[int]:
        if not text:
            return []
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=literal)
        return list(encoded["input_ids"])


def _words_of(messages: Messages) -> Messages:
    """Return the conversation without what marks do not stand for: calls and definitions."""
    if not has_tools(messages):
        return messages
    return tuple(
        replace(message, content="")
        if message.role == "tools"
        else replace(message, content=split_calls(message.content)[0])
        if message.role == "assistant"
        else message
        for message in messages
    )


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
