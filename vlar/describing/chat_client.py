"""Descriptions by a language model: ask, read, complain once about what cannot be used, keep.

What differs between a server and a local model is only how messages become an answer
(``complete``). Answers of which something was used are kept in the cache folder by the hash of the
model and the messages, so nothing is paid for twice, also after a kill.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from vlar import resources
from vlar.describing.base import Answer, Asked, Describer, NoAnswerError, RefusedError
from vlar.describing.instructions import Instructions, question
from vlar.describing.response_parser import Found
from vlar.text.check import TokenLimit

Message = dict[str, str]
_SHOWN_AGAIN = 4_000  # characters of a faulty answer that the model is reminded of
_MOST_FAULTS = 60
_ANSWER_TOKENS = 80  # of one description with its share of the JSON around it


class ChatDescriber(Describer):
    """A language model that answers messages.

    Args:
        limit: The encoder that will read the texts.
    """

    def __init__(self, limit: TokenLimit) -> None:
        self._limit = limit
        self._instructions = Instructions.packaged()

    @property
    @abstractmethod
    def identity(self) -> str:
        """All that an answer depends on beside the messages."""

    @abstractmethod
    def complete(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The model's answer of at most ``max_tokens``.

        Raises:
            NoAnswerError: there is none to these messages.
            RefusedError: there is none to any.
        """

    @property
    def instruction_digest(self) -> str:
        """Hash of what the model is told."""
        return self._instructions.digest

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Describe labels; what cannot be used is asked for once more, and then left out.

        Raises:
            NoAnswerError: this batch got no answer.
            RefusedError: no batch will get one.
        """
        kinds = asked[0].kinds
        messages: list[Message] = [
            {"role": "system", "content": self._instructions.system(kinds, self._limit.max_tokens)},
            {"role": "user", "content": question(asked)},
        ]
        budget = 100 + _ANSWER_TOKENS * len(asked) * len(kinds)
        found = Found()
        content = self._ask(messages, budget, found, asked)
        if faults := found.open(asked):
            messages += [
                {"role": "assistant", "content": content[:_SHOWN_AGAIN]},
                {"role": "user", "content": self._instructions.complaint(faults[:_MOST_FAULTS])},
            ]
            # What is already there is worth keeping, whatever becomes of the second question.
            with contextlib.suppress(NoAnswerError, RefusedError):
                self._ask(messages, budget, found, asked)
        found.cut_long(asked, self._limit)
        return [
            Answer(row.label, found.descriptions(row), None, found.remarks(row)) for row in asked
        ]

    def _ask(
        self, messages: Sequence[Message], budget: int, found: Found, asked: Sequence[Asked]
    ) -> str:
        path = _place(self.identity, messages, budget)
        content = _kept(path)
        fresh = content is None
        if content is None:
            content = self.complete(messages, budget)
        before = len(found.texts) + len(found.long)
        found.read(content, asked, self._limit)
        if fresh and len(found.texts) + len(found.long) > before:
            _keep(path, content)
        return content


def _place(identity: str, messages: Sequence[Message], budget: int) -> Path:
    key = json.dumps([identity, list(messages), budget], sort_keys=True)
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return resources.cache_dir() / "descriptions" / name[:2] / f"{name[:40]}.json"


def _kept(path: Path) -> str | None:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    content = cast("dict[str, Any]", data).get("content") if isinstance(data, dict) else None
    return content if isinstance(content, str) else None


def _keep(path: Path, content: str) -> None:
    # A cache that cannot be written costs a question, never the answer.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps({"content": content}).encode())
        temporary.replace(path)
