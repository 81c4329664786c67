"""What a run of questions took: numbers, time, tokens, and why opinions are missing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from vlar.answering.asking import Opinion
from vlar.errors import UsageError
from vlar.types import JsonDict


@dataclass
class Tally:
    """What a run of questions took and how it went.

    Attributes:
        clips: Clips that were asked about.
        opinions: Clips with an opinion.
        questions: Questions asked now; one a clip and order.
        reused: Questions whose answers were on disk.
        unread: Answers that name no option.
        refused: Questions that were refused.
        failures: Clips without an opinion, by the kind of the reason.
        seconds: Wall time.
        tokens_in: Tokens of the questions, where they are counted.
        tokens_out: Tokens of the answers.
    """

    clips: int = 0
    opinions: int = 0
    questions: int = 0
    reused: int = 0
    unread: int = 0
    refused: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, opinion: Opinion) -> None:
        """Count an opinion."""
        self.clips += 1
        self.opinions += opinion.probability is not None
        self.questions += opinion.asked
        self.reused += opinion.reused
        self.unread += opinion.unread
        self.refused += opinion.refused
        self.seconds += opinion.seconds
        self.tokens_in += opinion.tokens_in
        self.tokens_out += opinion.tokens_out
        if opinion.error is not None:
            kind = opinion.error[0]
            self.failures[kind] = self.failures.get(kind, 0) + 1

    def sentence(self) -> str:
        """For a person, in one line."""
        parts = [f"{self.opinions} of {self.clips} clips have an opinion"]
        parts.append(f"{self.questions} questions in {self.seconds:.1f} s, {self.reused} reused")
        if self.tokens_in or self.tokens_out:
            parts.append(f"{self.tokens_in} tokens in, {self.tokens_out} out{self._price()}")
        if self.unread:
            parts.append(f"{self.unread} answers name no option")
        if self.refused:
            parts.append(f"{self.refused} refused")
        parts += [f"{count} without opinion: {kind}" for kind, count in self.failures.items()]
        return "; ".join(parts)

    def _price(self) -> str:
        price = token_price()
        if price is None:
            return ""
        cost = (self.tokens_in * price[0] + self.tokens_out * price[1]) / 1e6
        return f", cost {cost:.4f}"

    def to_dict(self) -> JsonDict:
        """JSON object."""
        price = token_price()
        facts: JsonDict = dict(vars(self))
        facts["seconds"] = round(self.seconds, 3)
        if price is not None:
            facts["cost"] = (self.tokens_in * price[0] + self.tokens_out * price[1]) / 1e6
        return facts


def token_price() -> tuple[float, float] | None:
    """Price of a million tokens, of questions and of answers, from ``VLAR_LLM_PRICE=IN,OUT``.

    Raises:
        UsageError: it is not two numbers.
    """
    given = os.environ.get("VLAR_LLM_PRICE", "").strip()
    if not given:
        return None
    try:
        first, second = (float(part) for part in given.split(","))
    except ValueError:
        first = second = -1.0
    if not (0 <= first < float("inf") and 0 <= second < float("inf")):
        raise UsageError(
            f"VLAR_LLM_PRICE {given!r} is not two prices of a million tokens: 0.15,0.6"
        )
    return first, second
