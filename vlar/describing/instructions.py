"""The instructions for a language model: the texts of ``prompts/instructions``, filled in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

from vlar import resources
from vlar.describing.base import LabelRequest
from vlar.errors import ModelError
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

    def repair_request(self, faults: Sequence[str]) -> str:
        """The request to repair an answer with these faults."""
        return self.repair.substitute(faults="\n".join(f"- {fault}" for fault in faults))


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
