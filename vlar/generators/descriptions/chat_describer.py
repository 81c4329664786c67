"""The base of describers that ask a language model: ask, parse, ask once more, cache.

A server and a local model differ only in how messages become an answer (``complete``). A useful
answer is cached by the hash of the model and the messages, so that no question is paid for twice,
also after a killed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any, cast

from vlar.errors import ModelError
from vlar.files import resources
from vlar.generators.backends import keep, kept_place, read_kept
from vlar.generators.chat import NoAnswerError, RefusedError
from vlar.generators.descriptions.bank_validation import TokenLimit, n_tokens, same, text_fault
from vlar.generators.descriptions.base import Describer, LabelDescriptions, LabelRequest
from vlar.language.bank import Description
from vlar.types import JsonDict

_FOLDER = "prompts/instructions"
_FILES = ("describe", "kinds", "repair", "example")
_MOST_WORDS = 35
_TOKENS_A_WORD = 1.6  # of plain English with a CLIP tokenizer, slightly above the measured value


@dataclass(frozen=True)
class Instructions:
    """The instruction texts, and the hash that goes into a bank's provenance.

    Attributes:
        describe: Template of the task, with ``$kinds``, ``$words`` and ``$form``.
        kinds: Explanation of each kind, by name.
        repair: Template of the request to repair a faulty answer, with ``$faults``.
        example: An answer about one label, by ``label`` and kind. Small models copy its form, and
            would copy dots as well.
        digest: Hash of all files.
    """

    describe: Template
    kinds: dict[str, str]
    repair: Template
    example: dict[str, str]
    digest: str

    @classmethod
    def packaged(cls) -> Instructions:
        """The instructions that come with vlar."""
        texts = [resources.find(_FOLDER, name, ".txt").read_text("utf-8") for name in _FILES]
        kinds, example = _fields(texts[1]), _fields(texts[3])
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        return cls(Template(texts[0].strip()), kinds, Template(texts[2].strip()), example, digest)

    def system(self, kinds: Sequence[str], max_tokens: int) -> str:
        """The task for these kinds and an encoder that reads ``max_tokens`` tokens.

        Raises:
            ModelError: the instructions do not explain a kind.
        """
        missing = [kind for kind in kinds if kind not in self.kinds]
        if missing:
            raise ModelError(
                f"prompts/instructions/kinds.txt does not explain {', '.join(missing)}; "
                "add a line, or ask for other --kinds"
            )
        return self.describe.substitute(
            kinds="\n".join(f"- {kind}: {self.kinds[kind]}" for kind in kinds),
            words=n_words(max_tokens),
            form=json.dumps(
                {
                    "label": self.example["label"],
                    "descriptions": {kind: self.example.get(kind, "...") for kind in kinds},
                }
            ),
        )


def _fields(text: str) -> dict[str, str]:
    """Lines ``name: value`` by name."""
    rows = [line.partition(": ") for line in text.splitlines() if line.strip()]
    return {name.strip(): value.strip() for name, _, value in rows}


def question(requests: Sequence[LabelRequest]) -> str:
    """The labels of a batch, one a line."""
    rows = [json.dumps({"label": row.text}, ensure_ascii=False) for row in requests]
    return "Labels:\n" + "\n".join(rows)


def answer_form(requests: Sequence[LabelRequest]) -> JsonDict:
    """JSON schema of an answer: a row for each label, with a text for each kind.

    Every field is required and no other is allowed, as servers with strict forms demand.
    """
    rows = {
        f"row{number}": _closed(
            {
                "label": {"type": "string", "enum": [row.text]},
                "descriptions": _closed({kind: {"type": "string"} for kind in row.kinds}),
            }
        )
        for number, row in enumerate(requests, 1)
    }
    return _closed(rows)


def _closed(properties: JsonDict) -> JsonDict:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def n_words(max_tokens: int) -> int:
    """Number of words that fit into ``max_tokens`` tokens for certain.

    >>> n_words(77), n_words(256), n_words(16)
    (35, 35, 8)
    """
    return max(6, min(_MOST_WORDS, int((max_tokens - 2) / _TOKENS_A_WORD)))


_LONGEST = 2_000_000  # characters of an answer that are parsed
_MOST_REPAIRS = 5  # starts that are tried as an object that was cut
_LONGEST_REPAIR = 100_000  # characters
_MOST_STARTS = 2_000  # braces that are tried as the start of an object
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_MARKERS = re.compile(r"<\|[a-z_]*\|>.*", re.DOTALL)  # of a chat: the answer is over
_HALF_PAIR = re.compile(r',?\s*"(?:[^"\\]|\\.)*"?\s*:?\s*$')
_SENTENCE = re.compile(r".*?[.!?。！？](?=\s|$)", re.DOTALL)


@dataclass
class ParsedDescriptions:
    """Current result of a batch.

    Attributes:
        texts: Usable texts by label and kind.
        faults: Faults by label and kind without a usable text.
        long: Texts above the token limit, by label and kind.
        notes: Cut texts, by label.
    """

    texts: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    faults: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    long: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    notes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, content: str, requests: Sequence[LabelRequest], limit: TokenLimit) -> None:
        """Add the texts of an answer for labels and kinds that have none yet."""
        rows = _by_label(content, requests)
        for row in requests:
            for kind in row.kinds:
                key = (row.label, kind)
                if key not in self.texts:
                    self._add_text(key, row.text, rows.get(row.label, {}).get(kind), limit)

    def _add_text(self, key: tuple[str, str], label: str, value: Any, limit: TokenLimit) -> None:
        text = _MARKERS.sub("", value) if isinstance(value, str) else ""
        text = " ".join(text.split())
        text = text.encode("utf-8", "ignore").decode()  # half a surrogate pair cannot be written
        if not text:
            self.faults.setdefault(key, "is missing")
            return
        wrong = text_fault(text, label, limit)
        if wrong is None and any(same(text) == same(other) for other in self.texts.values()):
            wrong = "is the same sentence as another one", ""
        if wrong is None:
            self.texts[key] = text
            self.faults.pop(key, None)
            self.long.pop(key, None)
            return
        self.faults[key] = wrong[0]
        if n_tokens(text, limit) > limit.max_tokens:
            self.long[key] = text

    def truncate_long(self, requests: Sequence[LabelRequest], limit: TokenLimit) -> None:
        """Cut texts above the limit at the end of a sentence, if that leaves a usable text."""
        names = {row.label: row.text for row in requests}
        for key, text in list(self.long.items()):
            short = truncate(text, limit)
            if short and text_fault(short, names[key[0]], limit) is None:
                self.texts[key] = short
                self.faults.pop(key, None)
                what = f"{key[1]} was cut from {n_tokens(text, limit)} tokens at a sentence"
                self.notes.setdefault(key[0], []).append(what)

    def fault_lines(self, requests: Sequence[LabelRequest]) -> list[str]:
        """One line for the model about each label and kind without a usable text."""
        return [
            f"{json.dumps(row.text, ensure_ascii=False)}, {kind}: {self.faults[row.label, kind]}"
            for row in requests
            for kind in row.kinds
            if (row.label, kind) in self.faults
        ]

    def descriptions(self, row: LabelRequest) -> tuple[Description, ...]:
        """The usable descriptions of a label, in the order of its kinds."""
        kinds = [kind for kind in row.kinds if (row.label, kind) in self.texts]
        return tuple(Description(kind, self.texts[row.label, kind]) for kind in kinds)

    def notes_of(self, row: LabelRequest) -> tuple[str, ...]:
        """Cut or missing descriptions of a label."""
        missing = [
            f"{kind} {self.faults[row.label, kind]}"
            for kind in row.kinds
            if (row.label, kind) in self.faults
        ]
        return (*self.notes.get(row.label, ()), *missing)


def truncate(text: str, limit: TokenLimit) -> str:
    """The longest run of whole sentences from the start that the encoder reads; may be empty."""
    text_cut = ""
    for match in _SENTENCE.finditer(text):
        longer = text[: match.end()]
        if n_tokens(longer, limit) > limit.max_tokens:
            break
        text_cut = longer
    return text_cut.strip()


def labelled_objects(content: str) -> Iterator[Mapping[str, Any]]:
    """Every JSON object with a text ``label`` in an answer, in order."""
    text = _THOUGHTS.sub("", content)[:_LONGEST]
    decoder = json.JSONDecoder()
    position, tries = text.find("{"), 0
    for _ in range(_MOST_STARTS):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            tries += 1
            value = _completed(text[position:]) if tries <= _MOST_REPAIRS else None
            if value is not None:
                yield from _labelled(value)
                return
            position = text.find("{", position + 1)
            continue
        yield from _labelled(value)
        position = text.find("{", end)


def _completed(text: str) -> Any:
    """The value of a JSON text that ends in the middle; None for one that is not JSON.

    Of a string that was cut its whole sentences stay.
    """
    if len(text) > _LONGEST_REPAIR:
        return None
    closing: list[str] = []
    opened = -1  # place of the quote of an open string
    escaped = False
    for index, letter in enumerate(text):
        if opened >= 0:
            if not escaped and letter == '"':
                opened = -1
            escaped = not escaped and letter == "\\"
        elif letter == '"':
            opened = index
        elif letter in "{[":
            closing.append("}" if letter == "{" else "]")
        elif letter in "}]" and (not closing or closing.pop() != letter):
            return None
    if not closing:
        return None  # it is complete, and something else is wrong
    if opened >= 0:
        last = _MARKERS.sub("", text[opened + 1 :])
        whole = "".join(match.group() for match in _SENTENCE.finditer(last))
        text = f'{text[: opened + 1]}{whole}"'
    for tried in (text, _HALF_PAIR.sub("", text)):
        try:
            return json.loads(tried + "".join(reversed(closing)))
        except (json.JSONDecodeError, RecursionError):
            continue
    return None


def _labelled(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    if depth > 4:
        return
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        if isinstance(row.get("label"), str):
            yield row
            return
        value = list(row.values())
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _labelled(item, depth + 1)


def _by_label(content: str, requests: Sequence[LabelRequest]) -> dict[str, dict[str, Any]]:
    labels = {same(row.text): row.label for row in requests}
    labels |= {same(row.label): row.label for row in requests}
    rows_by_label: dict[str, dict[str, Any]] = {}
    for row in labelled_objects(content):
        label = labels.get(same(row["label"]))
        if label is not None:
            rows_by_label.setdefault(label, {}).update(_kinds(row))
    return rows_by_label


def _kinds(row: Mapping[str, Any]) -> dict[str, Any]:
    # The question asks for an object of kind to text; a bank's list of kind and text is as clear.
    kinds = row.get("descriptions", row)
    if isinstance(kinds, dict):
        return cast("dict[str, Any]", kinds)
    if not isinstance(kinds, list):
        return {}
    items = [item for item in cast("list[Any]", kinds) if isinstance(item, dict)]
    pairs = [cast("dict[str, Any]", item) for item in items]
    return {str(pair.get("kind")): pair.get("text") for pair in pairs}


Message = dict[str, str]
_REPEATED = 4_000  # characters of a faulty answer that the second question repeats
_MOST_FAULTS = 60
_ANSWER_TOKENS = 80  # of one description with its share of the JSON around it


class ChatDescriber(Describer):
    """A language model that answers chat messages.

    Args:
        limit: The encoder that will read the texts.
        source: Names the model in the provenance of a bank.
        author: Whose terms the licence of a bank points to.
    """

    def __init__(self, limit: TokenLimit, source: str, author: str) -> None:
        self._limit, self._source, self._author = limit, source, author
        self._instructions = Instructions.packaged()

    @property
    @abstractmethod
    def identity(self) -> str:
        """Everything that an answer depends on besides the messages; part of the cache key."""

    @abstractmethod
    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer of at most ``max_tokens`` tokens.

        Args:
            messages: The conversation.
            max_tokens: An answer that does not end is cut here.
            form: JSON schema of the answer, for servers that can hold a model to one.

        Raises:
            NoAnswerError: these messages get no answer.
            RefusedError: no messages get an answer.
        """

    def provenance(self) -> dict[str, str]:
        return {
            "source": self._source,
            "made": "written by the language model for these labels; not reviewed by a person",
            "instructions": self._instructions.digest,
        }

    def licence(self) -> str:
        return f"not stated (generated text: see the terms of {self._author})"

    def describe(self, requests: Sequence[LabelRequest]) -> list[LabelDescriptions]:
        """Describe labels; a second question asks for faulty texts, then they are left out."""
        kinds = requests[0].kinds
        messages: list[Message] = [
            {"role": "system", "content": self._instructions.system(kinds, self._limit.max_tokens)},
            {"role": "user", "content": question(requests)},
        ]
        budget = 100 + _ANSWER_TOKENS * len(requests) * len(kinds)
        parsed = ParsedDescriptions()
        content = self._ask(messages, budget, parsed, requests)
        if faults := parsed.fault_lines(requests):
            listed = "\n".join(f"- {fault}" for fault in faults[:_MOST_FAULTS])
            repair = self._instructions.repair.substitute(faults=listed)
            messages += [
                {"role": "assistant", "content": content[:_REPEATED]},
                {"role": "user", "content": repair},
            ]
            # The first answer is worth keeping if the second question fails.
            with contextlib.suppress(NoAnswerError, RefusedError):
                self._ask(messages, budget, parsed, requests)
        parsed.truncate_long(requests, self._limit)
        return [
            LabelDescriptions(row.label, parsed.descriptions(row), None, parsed.notes_of(row))
            for row in requests
        ]

    def _ask(
        self,
        messages: Sequence[Message],
        budget: int,
        parsed: ParsedDescriptions,
        requests: Sequence[LabelRequest],
    ) -> str:
        path = kept_place("descriptions", [self.identity, list(messages), budget])
        content = (read_kept(path) or {}).get("content")
        fresh = not isinstance(content, str)
        if not isinstance(content, str):
            content = self.complete(messages, budget, answer_form(requests))
        before = len(parsed.texts) + len(parsed.long)
        parsed.add(content, requests, self._limit)
        if fresh and len(parsed.texts) + len(parsed.long) > before:
            keep(path, {"content": content})
        return content
