"""How much a second opinion counts: given, fitted and read from a file, or neither."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vlar.answering.mixing import LEAD, UNFITTED, Mixing
from vlar.errors import UsageError
from vlar.safety.files import read_file
from vlar.safety.numbers import number
from vlar.types import JsonDict

ALWAYS = 1.01  # a margin that every answer is below
#: In the folder of a model: a run of ``vlar eval mcq`` whose weights need not be named.
KEPT = "second_opinion.json"
_MOST_BYTES = 100_000_000
_UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError)


@dataclass(frozen=True)
class Weights:
    """How a second opinion counts, and when it is asked for.

    Attributes:
        mixing: Powers on the two.
        margin: Ask only where the best two labels differ by less than this; above 1 is always.
        fitted: Whether labelled clips decided them, or the user.
    """

    mixing: Mixing = UNFITTED
    margin: float = ALWAYS
    fitted: bool = False

    @property
    def lead(self) -> float:
        """By how much the answerer must prefer an option: where nothing is fitted it can err."""
        return 0.0 if self.fitted else LEAD

    @staticmethod
    def read(text: str) -> Weights:
        """From ``A,B``, or from the file of a run of ``vlar eval mcq``.

        Raises:
            UsageError: it is neither, or the run fitted no weights.
        """
        if text.endswith(".json"):
            return _of_run(text)[0]
        try:
            a, b = (float(part) for part in text.split(","))
        except ValueError:
            raise UsageError(
                f"the weights {text!r} are not two numbers (1,0.5) nor the file of a run of "
                "'vlar eval mcq' (run.json)"
            ) from None
        return Weights(Mixing(a, b), fitted=True)

    @staticmethod
    def beside(model: str, identity: str) -> Weights | None:
        """Those that lie in the folder of a model, if they were fitted for this answerer.

        Args:
            model: The folder, or any other name of a model, which has no weights.
            identity: Of the answerer (``Answerer.identity``).

        Raises:
            UsageError: the file in the folder holds no fitted weights.
        """
        file = Path(model).expanduser() / KEPT
        if not file.is_file():
            return None
        found, answerer = _of_run(str(file))
        return found if answerer == identity else None


def _of_run(place: str) -> tuple[Weights, object]:
    """The weights of a run, and the identity of the answerer that they are for."""
    try:
        data = json.loads(read_file(Path(place).expanduser(), _MOST_BYTES))
        tables: JsonDict = next(r["tables"] for r in data["runs"] if r["tables"].get("weights"))
        found = tables["weights"]
        mixing = Mixing(float(found["a"]), float(found["b"]))
        return Weights(mixing, number(found, "margin"), fitted=True), tables.get("answerer")
    except OSError as error:
        raise UsageError(f"{place}: cannot be read ({error.strerror or error})") from error
    except _UNUSABLE as error:
        raise UsageError(
            f"{place} holds no fitted weights; make it with 'vlar eval mcq --out {place}'"
        ) from error
