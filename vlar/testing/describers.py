"""The contract of a describer, as a check; it describes two labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vlar import registry
from vlar.errors import UsageError, VlarError
from vlar.generators.chat import NoAnswerError
from vlar.generators.descriptions.bank_validation import TokenLimit, text_fault
from vlar.generators.descriptions.base import (
    Describer,
    LabelDescriptions,
    LabelRequest,
    load_describer,
)
from vlar.testing.contract import name_of, refused, registered, run, skip

REQUESTS = (
    LabelRequest("ApplyEyeMakeup", "apply eye makeup", ("scene", "motion")),
    LabelRequest("wave_hand", "wave hand", ("scene", "motion")),
)


@dataclass(frozen=True)
class WordLimit:
    """A reader of texts that counts words, two special tokens included."""

    name: str = "words"
    max_tokens: int = 40

    def count_tokens(self, text: str) -> int:
        """Words and two."""
        return len(text.split()) + 2


@dataclass
class DescriberMaterial:
    """A describer and the reader of its texts.

    Attributes:
        name: Its registered name.
        argument: Text after the colon of its spec.
        describer: The describer.
        limit: The reader of its texts.
    """

    name: str
    argument: str
    describer: Describer
    limit: TokenLimit

    @property
    def spec(self) -> str:
        """Spec of the describer."""
        return f"{self.name}:{self.argument}".rstrip(":")


def check_describer(
    part: Any, *, argument: str | None = None, limit: TokenLimit | None = None
) -> None:
    """Try a describer on two labels.

    Args:
        part: The describer: a class, or a registered name.
        argument: Text after the colon of its spec; default none.
        limit: The reader of its texts; default one that counts words, up to 40.

    Raises:
        AssertionError: it breaks the contract of
            ``vlar.generators.descriptions.base.Describer``.
        unittest.SkipTest: it needs an argument.
    """
    part = registry.get("describer", part) if isinstance(part, str) else part
    cls: type[Describer] = part if isinstance(part, type) else type(part)
    name, reader = name_of("describer", cls), limit or WordLimit()
    with registered("describer", name, cls):
        try:
            describer = cls.from_spec(argument or "", reader)
        except VlarError as error:
            if argument is None:
                raise skip(f"{error} (give the check an argument)") from error
            raise
        run("describer", name, STEPS, DescriberMaterial(name, argument or "", describer, reader))


def _answers(m: DescriberMaterial) -> list[LabelDescriptions] | None:
    """Answers to two labels; None where a model wrote nothing that can be used."""
    try:
        return m.describer.describe(REQUESTS)
    except NoAnswerError:
        return None


def _origin(m: DescriberMaterial) -> None:
    """Provenance has source and maker and no date, since a bank is continued another day."""
    assert m.describer.batch_size >= 1
    provenance = m.describer.provenance()
    assert provenance["source"]
    assert provenance["made"]
    assert "date" not in provenance
    assert m.describer.licence()


def _rows(m: DescriberMaterial) -> None:
    """One row a label comes in order, with usable texts of the asked kinds, or notes why not."""
    rows = _answers(m)
    if rows is None:
        return
    assert [row.label for row in rows] == [row.label for row in REQUESTS]
    for request, row in zip(REQUESTS, rows, strict=True):
        kinds = [text.kind for text in row.descriptions]
        assert kinds == [kind for kind in request.kinds if kind in kinds], f"kinds {kinds}"
        assert row.descriptions or row.notes, f"{row.label}: neither texts nor notes"
        for text in row.descriptions:
            fault = text_fault(text.text, request.text, m.limit)
            assert fault is None, f"{row.label}: {fault}"


def _repeat(m: DescriberMaterial) -> None:
    """Equal requests get equal answers."""
    assert _answers(m) == _answers(m)


def _spec(m: DescriberMaterial) -> None:
    """Two describers of one spec continue each other's bank."""
    one, other = load_describer(m.spec, m.limit), load_describer(m.spec, m.limit)
    assert one.provenance() == other.provenance()
    one.close()
    other.close()


def _argument(m: DescriberMaterial) -> None:
    """A missing or surplus argument is refused by the name of the describer."""
    useless = "" if m.argument else "surplus"
    refused(UsageError, m.name, load_describer, f"{m.name}:{useless}", m.limit)


def _close(m: DescriberMaterial) -> None:
    """Closing twice is harmless."""
    m.describer.close()
    m.describer.close()


STEPS = (_origin, _rows, _repeat, _spec, _argument, _close)
