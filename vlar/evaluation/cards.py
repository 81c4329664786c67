"""The protocol file (a card): data, labels, settings and hashes of a figure.

A card is a TOML file::

    name = "ucf101"
    protocol = ["zero-shot", "retrieval"]        one name or several, over shared features
    model = "lite"                               default of --model

    [data]
    layout = "ucf101"                            see vlar.evaluation.datasets
    folder = "UCF101"                            below --data; default: --data itself
    subset = "test"                              default: test, else val
    labels = "labels.txt"                        only these; a list, or a file next to the card

    [[splits]]                                   each replaces some keys of [data]
    options = {split = 1}

    [source]                                     as [data]; where a protocol fits on other data
    [expected]                                   labels, train, val, test: counts that must hold
    [hashes]                                     annotation file to SHA-256, in the order of splits
    [settings]                                   of the protocol
    [[published]]                                method, figure, value, spread, source
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vlar import registry
from vlar.errors import ProtocolError
from vlar.evaluation.datasets.base import text_hash
from vlar.evaluation.datasets.lists import label_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_STRICT = ConfigDict(extra="forbid")


class DataCard(BaseModel):
    """Clip selection of a card; see the module.

    Attributes:
        layout: Registered name; None finds it by the files.
        options: Of the layout.
        folder: Below the user's folder.
        subset: Name of the subset; None is ``test``, or ``val`` where there is none.
        labels: Only these labels: a list, or a file (as given in the card).
    """

    model_config = _STRICT
    layout: str | None = None
    options: dict[str, Any] = {}
    folder: str = ""
    subset: str | None = None
    labels: list[str] | str | None = None


class Published(BaseModel):
    """A figure that someone reported.

    Attributes:
        method: Whose.
        figure: Name of the figure in a run: ``top1``, ``hm``.
        value: As the runs give it: shares of 1.
        spread: Standard deviation over splits or seeds, as reported; None where it is not.
        source: Where it stands.
        where: Which row of the run, for example ``{"shots": "2"}``; empty for its mean.
        protocol: Whose figure it is, in a card of several protocols.
    """

    model_config = _STRICT
    method: str
    figure: str
    value: float
    spread: float | None = None
    source: str
    where: dict[str, str] = {}
    protocol: str | None = None


class Card(BaseModel):
    """One protocol file; see the module.

    Attributes:
        name: Of the card.
        protocol: Registered names.
        model: Spec of the model; None leaves it to the user.
        needs_model: What ``--model`` must name, where the card stands for weights of the user's.
        fingerprint: Of the model's encoder; another one is refused.
        templates: Prompt set; None for the model's own.
        descriptions: See ``Model.classify``.
        data: The clips.
        splits: Replacements in ``data``, one a split; none means one split.
        source: Clips of another data set, which a model is fitted to.
        expected: Counts that must hold: ``labels``, ``train``, ``val``, ``test``.
        hashes: SHA-256 of annotation files, and of label files of the card.
        settings: Of the protocol.
        published: Figures to stand next to those of a run.
        about: Facts for the reader: domain, view, licence, how to obtain, how the run differs.
    """

    model_config = _STRICT
    name: str
    protocol: list[str] | str
    model: str | None = None
    needs_model: str | None = None
    fingerprint: str | None = None
    templates: str | None = None
    descriptions: str = "auto"
    data: DataCard = DataCard()
    splits: list[dict[str, Any]] = []
    source: DataCard | None = None
    expected: dict[str, int] = {}
    hashes: dict[str, str] = {}
    settings: dict[str, Any] = {}
    published: list[Published] = []
    about: dict[str, Any] = {}

    @property
    def protocols(self) -> list[str]:
        """The names, one or several."""
        return [self.protocol] if isinstance(self.protocol, str) else self.protocol

    def parts(self) -> list[DataCard]:
        """``data`` of each split.

        Raises:
            ProtocolError: a split replaces a key that does not exist.
        """
        plain = self.data.model_dump()
        try:
            return [DataCard.model_validate({**plain, **split}) for split in self.splits or [{}]]
        except ValidationError as error:
            raise ProtocolError(f"card {self.name!r}, splits: {first_fault(error)}") from error


@dataclass(frozen=True)
class LoadedCard:
    """A card with its file; None for a card made from a protocol's name."""

    card: Card
    file: Path | None = None

    @property
    def sha256(self) -> str | None:
        """Hash of the card's lines; None without a file."""
        return text_hash(self.file) if self.file else None

    def labels(self, given: list[str] | str | None) -> tuple[str, ...] | None:
        """The labels of a list or of a file next to the card; a changed file is refused.

        Raises:
            ProtocolError: a file's hash is not the card's.
            DatasetError: it cannot be read.
        """
        if given is None or isinstance(given, list):
            return None if given is None else tuple(given)
        file = self.path(given)
        self.check_hash(given, text_hash(file))
        return label_names(file)

    def path(self, name: str) -> Path:
        """A file that the card names, relative to the card."""
        place = Path(name).expanduser()
        return self.file.parent / place if self.file and not place.is_absolute() else place

    def check_hash(self, name: str, sha256: str) -> None:
        """Refuse a file whose hash differs from that of the card.

        Raises:
            ProtocolError: it has changed.
        """
        wanted = self.card.hashes.get(name)
        if wanted is not None and wanted != sha256:
            raise ProtocolError(
                f"{name} is not the list that card {self.card.name!r} stands for: its SHA-256 is "
                f"{sha256[:12]}.., not {wanted[:12]}..; restore the official file"
            )


def read_card(path: str | Path) -> LoadedCard:
    """Read and check a protocol file.

    Raises:
        ProtocolError: it cannot be read or a value is wrong; the message names key and value.
        UnknownNameError: a protocol does not exist.
    """
    file = Path(path).expanduser()
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProtocolError(
            f"{file}: cannot be read ({error.strerror}); give a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{file}: not readable as TOML ({error})") from error
    return LoadedCard(make_card(values, str(file)), file.absolute())


def make_card(values: Mapping[str, Any], where: str) -> Card:
    """A checked card from its values.

    Raises:
        ProtocolError: a key or a value is wrong.
        UnknownNameError: a protocol does not exist.
    """
    try:
        card = Card.model_validate(dict(values))
    except ValidationError as error:
        raise ProtocolError(f"{where}: {first_fault(error)}") from error
    known = registry.names("protocol")
    for name in card.protocols:
        if name not in known:
            raise registry.unknown_name("protocol", name, known)
    return card


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation in one sentence."""
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"key {key!r} is missing; add it"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}; see docs/protocols.md"
    return f"key {key!r} is {fault['input']!r}: {fault['msg'].lower()}; correct it"


def toml_value(text: str) -> Any:
    """A value as TOML writes it; anything else is a text.

    >>> toml_value("[1, 2]"), toml_value("ridge")
    ([1, 2], 'ridge')
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
