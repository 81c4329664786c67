"""Descriptions by a server with OpenAI's chat API: hosted, vLLM, llama.cpp, Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlar.errors import UsageError
from vlar.generators.descriptions.base import BadRequestError, NoAnswerError
from vlar.generators.descriptions.chat_client import ChatClient, connect
from vlar.generators.descriptions.chat_describer import ChatDescriber, Message
from vlar.language.bank_validation import TokenLimit
from vlar.registry import register
from vlar.types import JsonDict


@register("describer", "openai")
class OpenAIDescriber(ChatDescriber):
    """A model behind a chat server (OPENAI_BASE_URL, OPENAI_API_KEY)."""

    batch_size = 8
    concurrent = True

    def __init__(self, model: str, client: ChatClient, limit: TokenLimit) -> None:
        super().__init__(limit)
        self._model = model
        self._client = client
        self._way = 0  # of ``_posted``: the fullest that the server took

    @classmethod
    def from_spec(cls, argument: str, limit: TokenLimit) -> OpenAIDescriber:
        if not argument:
            raise UsageError("--llm openai: names no model; write openai:MODEL")
        return cls(argument, connect(), limit)

    @property
    def identity(self) -> str:
        return f"{self._client.address} {self._model}"

    def provenance(self) -> dict[str, str]:
        return {
            "source": f"language model {self._model} at {self._client.address}",
            "made": "written by the language model for these labels; not reviewed by a person",
            "instructions": self.instruction_digest,
        }

    def licence(self) -> str:
        return f"not stated (generated text: see the terms of {self._model})"

    def complete(self, messages: Sequence[Message], max_tokens: int, form: JsonDict) -> str:
        """The model's answer.

        Servers disagree on the name of the limit and on whether they hold an answer to a form. The
        fullest request is tried first; what a server took is asked for from then on.
        """
        answer = self._posted({"model": self._model, "messages": list(messages)}, max_tokens, form)
        content = _content(answer)
        if content is None:
            raise NoAnswerError(
                f"{self._client.address} answered without a message (choices[0].message.content); "
                "is it a chat server?"
            )
        return content

    def _posted(self, body: JsonDict, max_tokens: int, form: JsonDict) -> JsonDict:
        schema = {"name": "descriptions", "strict": True, "schema": form}
        formed = {"response_format": {"type": "json_schema", "json_schema": schema}}
        ways: list[JsonDict] = [
            {"max_tokens": max_tokens, **formed},
            {"max_completion_tokens": max_tokens, **formed},
            {"max_tokens": max_tokens},
            {},
        ]
        refused: BadRequestError | None = None
        for way in range(self._way, len(ways)):
            try:
                answer = self._client.post({**body, **ways[way]})
            except BadRequestError as error:
                refused = refused or error
            else:
                self._way = way
                return answer
        assert refused is not None
        raise refused

    def close(self) -> None:
        self._client.close()


def _content(answer: dict[str, Any]) -> str | None:
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) else None
