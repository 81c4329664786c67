"""A concept: a name for words and what judgements of rows taught about them."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass

import numpy as np

from vlar.types import Float32, Float64, JsonDict


@dataclass(frozen=True)
class Concept:
    """A name for words and what judgements taught about them.

    Attributes:
        name: As queries write it.
        text: The words.
        fingerprint: Fingerprint of the model.
        yes: Number of judgements.
        no: Number of judgements.
        gain: Log odds that a cosine with the words is worth.
        offset: Log odds that are added to every row.
        shift: (D,) weights of a row's vector in log odds.
    """

    name: str
    text: str
    fingerprint: str
    yes: int
    no: int
    gain: float
    offset: float
    shift: Float32

    def evidence(self, vectors: Float32) -> Float64:
        """Log odds (N,) that judgements add to those of the words, for rows (N, D)."""
        return vectors.astype(np.float64) @ self.shift.astype(np.float64) + self.offset

    def to_dict(self) -> JsonDict:
        """JSON object of the command line."""
        return {"name": self.name, "text": self.text, "yes": self.yes, "no": self.no}

    def to_json(self) -> str:
        """The text that a library keeps."""
        vector = base64.b64encode(self.shift.astype("<f4").tobytes()).decode()
        numbers = {"gain": self.gain, "offset": self.offset, "shift": vector}
        return json.dumps({**self.to_dict(), "fingerprint": self.fingerprint, **numbers})

    @classmethod
    def from_json(cls, text: str) -> Concept | None:
        """The concept in a text; None where it is not one, as in a library of anybody."""
        try:
            facts = json.loads(text)
            shift = np.frombuffer(base64.b64decode(facts["shift"], validate=True), "<f4")
            numbers = float(facts["gain"]), float(facts["offset"])
            counts = int(facts["yes"]), int(facts["no"])
            name, text, made_by = (
                str(facts[key])[:2000] for key in ("name", "text", "fingerprint")
            )
        except (ValueError, TypeError, KeyError, binascii.Error):
            return None
        if not (np.isfinite(shift).all() and all(map(math.isfinite, numbers))):
            return None
        return cls(name, text, made_by, *counts, *numbers, shift.astype(np.float32))
