"""Descriptions by a server with OpenAI's chat API: hosted, vLLM, llama.cpp, Ollama."""

from __future__ import annotations

from collections.abc import Sequence

from vlar.errors import UsageError
from vlar.generators.chat import ChatClient, connect
from vlar.generators.descriptions.bank_validation import TokenLimit
from vlar.generators.descriptions.chat_describer import ChatDescriber, Message
from vlar.registry import register
from vlar.types import JsonDict


@register("describer", "openai")
class OpenAIDescriber(ChatDescriber):
    """A model behind a chat server (OPENAI_BASE_URL, OPENAI_API_KEY)."""

    batch_size = 8
    concurrent = True

    def __init__(self, model: str, client: ChatClient, limit: TokenLimit) -> None:
        super().__init__(limit, f"language model {model} at {client.address}", model)
        self._model, self._client = model, client

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> OpenAIDescriber:
        if not argument:
            raise UsageError("--llm openai: names no model; write openai:MODEL")
        return cls(argument, connect(), limit)

    @property
    def identity(self) -> str:
        return f"{self._client.address} {self._model}"

    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer.

        Servers disagree on the name of the limit and on whether they hold an answer to a form.
        """
        schema = {"name": "descriptions", "strict": True, "schema": form}
        formed = {"response_format": {"type": "json_schema", "json_schema": schema}}
        ways: list[JsonDict] = [
            {"max_tokens": max_tokens, **formed},
            {"max_completion_tokens": max_tokens, **formed},
            {"max_tokens": max_tokens},
            {},
        ]
        answer = self._client.ask({"model": self._model, "messages": list(messages)}, ways)
        content = answer["choices"][0]["message"].get("content")
        if not isinstance(content, str):
            raise self._client.no_message()
        return content

    def close(self) -> None:
        self._client.close()
