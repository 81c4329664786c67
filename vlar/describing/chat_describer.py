"""The base of describers that ask a language model: ask, parse, ask once more, cache.

A server and a local model differ only in how messages become an answer (``complete``). A useful
answer is cached by the hash of the model and the messages, so that no question is paid for twice,
also after a killed run.
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
from vlar.describing.base import (
    Describer,
    LabelDescriptions,
    LabelRequest,
    NoAnswerError,
    RefusedError,
)
from vlar.describing.instructions import Instructions, answer_form, question
from vlar.describing.response_parser import ParsedDescriptions
from vlar.text.check import TokenLimit
from vlar.types import JsonDict

Message = dict[str, str]
_REPEATED = 4_000  # characters of a faulty answer that the second question repeats
_MOST_FAULTS = 60
_ANSWER_TOKENS = 80  # of one description with its share of the JSON around it


class ChatDescriber(Describer):
    """A language model that answers chat messages.

    Args:
        limit: The encoder that will read the texts.
    """

    def __init__(self, limit: TokenLimit) -> None:
        self._limit = limit
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

    @property
    def instruction_digest(self) -> str:
        """Hash of the instructions."""
        return self._instructions.digest

    def describe(self, requests: Sequence[LabelRequest]) -> list[LabelDescriptions]:
        """Describe labels; a second question asks for faulty texts, then they are left out.

        Raises:
            NoAnswerError: this batch got no answer.
            RefusedError: no batch will get an answer.
        """
        kinds = requests[0].kinds
        messages: list[Message] = [
            {"role": "system", "content": self._instructions.system(kinds, self._limit.max_tokens)},
            {"role": "user", "content": question(requests)},
        ]
        budget = 100 + _ANSWER_TOKENS * len(requests) * len(kinds)
        parsed = ParsedDescriptions()
        content = self._ask(messages, budget, parsed, requests)
        if faults := parsed.fault_lines(requests):
            messages += [
                {"role": "assistant", "content": content[:_REPEATED]},
                {
                    "role": "user",
                    "content": self._instructions.repair_request(faults[:_MOST_FAULTS]),
                },
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
        path = _cache_path(self.identity, messages, budget)
        content = _read_cache(path)
        fresh = content is None
        if content is None:
            content = self.complete(messages, budget, answer_form(requests))
        before = len(parsed.texts) + len(parsed.long)
        parsed.add(content, requests, self._limit)
        if fresh and len(parsed.texts) + len(parsed.long) > before:
            _write_cache(path, content)
        return content


def _cache_path(identity: str, messages: Sequence[Message], budget: int) -> Path:
    key = json.dumps([identity, list(messages), budget], sort_keys=True)
    name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return resources.cache_dir() / "descriptions" / name[:2] / f"{name[:40]}.json"


def _read_cache(path: Path) -> str | None:
    try:
        data: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    content = cast("dict[str, Any]", data).get("content") if isinstance(data, dict) else None
    return content if isinstance(content, str) else None


def _write_cache(path: Path, content: str) -> None:
    # A cache that cannot be written costs a question, never the answer.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps({"content": content}).encode())
        temporary.replace(path)
