"""Descriptions by a server that speaks OpenAI's chat API: hosted, vLLM, llama.cpp, Ollama."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from vlar.describing.base import NoAnswerError
from vlar.describing.chat_client import ChatDescriber, Message
from vlar.describing.server import ChatServer
from vlar.errors import UsageError
from vlar.registry import register
from vlar.text.check import TokenLimit

_HOSTED = "https://api.openai.com/v1"


@register("describer", "openai")
class OpenAIDescriber(ChatDescriber):
    """A model behind a chat server (OPENAI_BASE_URL, OPENAI_API_KEY).

    Args:
        model: As the server calls it.
        server: Where to ask.
        limit: The encoder that will read the texts.
    """

    batch = 8
    concurrent = True

    def __init__(self, model: str, server: ChatServer, limit: TokenLimit) -> None:
        super().__init__(limit)
        self._model = model
        self._server = server

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> OpenAIDescriber:
        """The model ``argument`` on the server that the environment names.

        Raises:
            UsageError: there is no model, no usable address, or no key where one is needed.
        """
        if not argument:
            raise UsageError("--llm openai: names no model; write openai:MODEL")
        base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or _HOSTED
        key = os.environ.get("OPENAI_API_KEY", "").strip() or None
        if key is None and base_url == _HOSTED:
            raise UsageError(
                "OPENAI_API_KEY is not set; set it, or set OPENAI_BASE_URL to a server that needs "
                "no key, such as http://localhost:8000/v1"
            )
        return cls(argument, ChatServer(base_url, key, timeout_s=_timeout_s()), limit)

    @property
    def identity(self) -> str:
        """Server and model."""
        return f"{self._server.address} {self._model}"

    def provenance(self) -> dict[str, str]:
        """The model, the server and the instructions."""
        return {
            "source": f"language model {self._model} at {self._server.address}",
            "made": "written by the language model for these labels; not reviewed by a person",
            "instructions": self.instruction_digest,
        }

    def licence(self) -> str:
        """Generated text has the licence its model's terms allow."""
        return f"not stated (generated text: see the terms of {self._model})"

    def complete(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The model's answer.

        Raises:
            NoAnswerError: the server gave none, also after several attempts.
            RefusedError: it will give none to anything.
        """
        del max_tokens  # servers disagree on the parameter's name; their default is long enough
        answer = self._server.ask({"model": self._model, "messages": list(messages)})
        content = _content(answer)
        if content is None:
            raise NoAnswerError(
                f"{self._server.address} answered without a message (choices[0].message.content); "
                "is it a chat server?"
            )
        return content

    def close(self) -> None:
        """No further attempts."""
        self._server.close()


def _content(answer: dict[str, Any]) -> str | None:
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else None


def _timeout_s() -> float:
    given = os.environ.get("VLAR_LLM_TIMEOUT_S", "120")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"VLAR_LLM_TIMEOUT_S {given!r} is no number of seconds above 0")
    return seconds
