"""One thing that is wrong with a file of another person."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vlar.errors import VlarError, one_line
from vlar.types import JsonDict

#: It runs code or leaves its folder where another program opens it; vlar refuses it or does not
#: touch it.
DANGER = "danger"
#: vlar refuses it, or would answer wrongly.
DAMAGE = "damage"
#: It is sound, and worth knowing.
REMARK = "remark"
SEVERITIES = (DANGER, DAMAGE, REMARK)


@dataclass(frozen=True)
class Finding:
    """A finding of an audit.

    Attributes:
        severity: ``danger``, ``damage`` or ``remark``.
        file: Where it is.
        problem: What is wrong.
        advice: What to do.
    """

    severity: str
    file: str
    problem: str
    advice: str

    @staticmethod
    def of(error: VlarError, file: object, severity: str = DAMAGE) -> Finding:
        """The finding of an error; what follows its last semicolon is the advice."""
        problem, mark, advice = error.message.rpartition("; ")
        if not mark:
            problem, advice = error.message, "ask its sender for a copy"
        return Finding(severity, str(file), problem, advice)

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.severity:<6}  " + one_line(f"{self.file}: {self.problem}; {self.advice}")
