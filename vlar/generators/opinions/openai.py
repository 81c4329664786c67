"""``openai:MODEL``: a model that reads pictures, behind a server with OpenAI's chat API.

Hosted, vLLM, llama.cpp, Ollama and others. The frames of a clip leave this machine only for the
server that OPENAI_BASE_URL names. Where a server gives the probabilities of the first letter
(``logprobs``), they are used; else what it writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlar.encoders.spec import split_options
from vlar.errors import UsageError
from vlar.generators.chat import ChatClient, RefusedError, connect
from vlar.generators.opinions.base import Answer, Answerer, MediaItem
from vlar.generators.opinions.question import LETTERS, Question, data_url, picture_count, pictures
from vlar.registry import register
from vlar.types import Float64, JsonDict

_ATTEMPTS = 2
_TOP = 20  # probabilities of the first token that servers give at most
_LEAST = 1e-4  # share of a letter that is not among them


@register("answerer", "openai")
class OpenAIAnswerer(Answerer):
    """A model behind a chat server (OPENAI_BASE_URL, OPENAI_API_KEY).

    Args:
        model: The server's name of the model.
        client: Client of the server, or what keeps it from being made.
        n_pictures: Frames of a clip that it is shown.
    """

    concurrent = True

    def __init__(self, model: str, client: ChatClient | str, n_pictures: int) -> None:
        self._model, self._client, self._n = model, client, n_pictures

    @classmethod
    def from_spec(cls, argument: str) -> OpenAIAnswerer:
        """The model ``MODEL`` or ``MODEL?frames=8`` on the server that the environment names.

        A missing key shows when the first question is asked.
        """
        model, options = split_options(argument, ("frames",))
        n_pictures = picture_count(options.get("frames"))
        if not model:
            raise UsageError("the answerer openai: names no model; write openai:MODEL")
        try:
            advice = "show fewer pictures (?frames=4)"
            client = connect(attempts=_ATTEMPTS, if_too_long=advice)
        except UsageError as error:
            return cls(model, error.message, n_pictures)
        return cls(model, client, n_pictures)

    @property
    def identity(self) -> str:
        server = "" if isinstance(self._client, str) else self._client.address
        return f"openai {server} {self._model} {self._n}"

    def answer(self, shown: MediaItem, question: Question) -> Answer:
        if isinstance(self._client, str):
            raise RefusedError(self._client)
        shots = pictures(shown.clip, self._n)
        text = question.text(n_pictures=len(shots), duration_s=shown.clip.window.duration_s)
        content: list[JsonDict] = [
            {"type": "image_url", "image_url": {"url": data_url(shot)}} for shot in shots
        ]
        content.append({"type": "text", "text": text})
        body = {"model": self._model, "messages": [{"role": "user", "content": content}]}
        reply = self._client.ask(body, _WAYS)
        choice = reply["choices"][0]
        text, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        blocked = isinstance(refusal, str) or choice.get("finish_reason") == "content_filter"
        return Answer(
            None if blocked else _letters(choice.get("logprobs"), len(question)),
            text if isinstance(text, str) else "",
            refused=blocked,
            tokens_in=_count(reply, "prompt_tokens"),
            tokens_out=_count(reply, "completion_tokens"),
        )

    def close(self) -> None:
        if not isinstance(self._client, str):
            self._client.close()


#: Some servers refuse what they do not support.
_WAYS: tuple[JsonDict, ...] = ({"temperature": 0, "logprobs": True, "top_logprobs": _TOP}, {})


def _letters(logprobs: Any, k: int) -> Float64 | None:
    """(K,) shares of the letters as the first token; None where that is not a letter."""
    try:
        first = logprobs["content"][0]
        if str(first["token"]).strip() not in LETTERS[:k]:
            return None
        shares = np.zeros(k)
        for entry in [*first["top_logprobs"], *([] if first["top_logprobs"] else [first])]:
            letter = str(entry["token"]).strip()
            if len(letter) == 1 and letter in LETTERS[:k]:
                shares[LETTERS.index(letter)] += np.exp(min(float(entry["logprob"]), 0.0))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if not (np.isfinite(shares).all() and shares.sum() > 0):
        return None
    shares = np.maximum(shares / shares.sum(), _LEAST)
    return shares / shares.sum()


def _count(given: JsonDict, name: str) -> int:
    usage = given.get("usage")
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
