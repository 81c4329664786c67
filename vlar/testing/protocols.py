"""The contract of a protocol of evaluation, as a check, on a small data set."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlar import registry
from vlar.errors import UnknownNameError, VlarError
from vlar.evaluation.cards import LoadedCard, make_card
from vlar.evaluation.protocols.base import Protocol
from vlar.evaluation.runner import describe, make_plan, read_runs, run_card, write_runs
from vlar.metrics.figures import Figure
from vlar.model.model import Model
from vlar.testing.contract import name_of, refused, registered, run, skip
from vlar.testing.material import SmallEncoder, write_video
from vlar.types import JsonDict

LABELS = ("red left", "red right", "blue left", "blue right")
# Settings of a protocol that learns from labels of its own choice.
_LEARNS = frozenset({"method", "ways", "shares"})


@dataclass
class ProtocolMaterial:
    """A protocol, its card and data.

    Attributes:
        name: Registered name.
        cls: Its class.
        card: Content of the card, without name and protocol.
        data: Folder of the data.
        model: The model that is judged.
        folder: A folder for files.
        run: The run, made by the first step.
    """

    name: str
    cls: type[Protocol]
    card: JsonDict
    data: Path
    model: Model
    folder: Path
    run: JsonDict = field(default_factory=dict[str, Any])

    def loaded(self, **settings: Any) -> LoadedCard:
        """The card, with further settings."""
        content: JsonDict = {"name": self.name, "protocol": self.name, **self.card}
        content["settings"] = {**self.card.get("settings", {}), **settings}
        if not content["settings"]:
            del content["settings"]
        return LoadedCard(make_card(content, self.name))


def check_protocol(
    part: Any,
    *,
    card: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    model: Model | None = None,
) -> None:
    """Run a protocol on small data, twice.

    Args:
        part: The protocol: a class, or a registered name.
        card: Content of its card, such as ``{"settings": {...}}``; default none.
        data: A data set that it suits; default generated videos of four labels in ``train`` and
            ``test``.
        model: The model; default a small one that is not trained.

    Raises:
        AssertionError: it breaks the contract of ``vlar.evaluation.protocols.base.Protocol``.
        unittest.SkipTest: it needs settings or data of its own.
    """
    part = registry.get("protocol", part) if isinstance(part, str) else part
    cls: type[Protocol] = part if isinstance(part, type) else type(part)
    name = name_of("protocol", cls)
    with tempfile.TemporaryDirectory() as scratch, registered("protocol", name, cls):
        folder = Path(scratch)
        root = Path(data) if data is not None else _videos(folder / "data")
        judged = model or Model(SmallEncoder())
        material = ProtocolMaterial(name, cls, dict(card or {}), root, judged, folder)
        if card is None and data is None:
            try:
                make_plan(material.loaded(), name, root)
            except VlarError as error:
                raise skip(f"{error} (give the check a card and data)") from error
        run("protocol", name, STEPS, material)


def _videos(root: Path) -> Path:
    """``train`` and ``test`` with two videos a label: a square of a colour that goes a way."""
    for number, subset in enumerate(("train", "test")):
        for column, label in enumerate(LABELS):
            colour, way = label.split()
            for clip in range(2):
                frames = np.full((8, 32, 48, 3), 100 + 10 * clip + 5 * number, np.uint8)
                for time, frame in enumerate(frames):
                    x = 4 * time if way == "right" else 32 - 4 * time
                    square = (200, 30, 30) if colour == "red" else (40, 50, 210)
                    frame[4 + 3 * clip : 18, x : x + 14] = square
                file = root / subset / label / f"{subset}{column}_{clip}.mp4"
                write_video(file, frames, 8)
    return root


def _name(m: ProtocolMaterial) -> None:
    """The name is the registered one, the settings are JSON, and it is documented."""
    assert registry.get("protocol", m.cls.name) is m.cls, f"name {m.cls.name!r}"
    assert json.loads(json.dumps(m.cls.defaults)) == m.cls.defaults
    assert (m.cls.__doc__ or "").strip()


def _plan(m: ProtocolMaterial) -> None:
    """The plan is described without a model, and an unknown setting is refused."""
    row = describe(make_plan(m.loaded(), m.name, m.data)[1], m.name)
    assert json.dumps(row)
    assert row["splits"][0]["labels"] >= 2
    card = m.loaded(shotz=1)
    refused(UnknownNameError, "shotz", make_plan, card, m.name, m.data)


def _figures(m: ProtocolMaterial) -> None:
    """Figures are shares with their intervals and counts, each once."""
    (m.run,) = run_card(m.loaded(), m.data, m.model)
    figures = [Figure.restore(row) for row in m.run["figures"]]
    assert figures
    keys = [(f.name, tuple(sorted(f.where.items()))) for f in figures]
    assert len(set(keys)) == len(keys), "two figures of one name and place"
    for figure in figures:
        if math.isnan(figure.value):
            continue
        assert figure.n > 0, figure
        assert 0 <= figure.value <= 1 or not figure.is_share or figure.name == "gap", figure
        if figure.low is not None and figure.high is not None:
            assert figure.low - 1e-9 <= figure.high


def _file(m: ProtocolMaterial) -> None:
    """The run survives its file, which names all that moves a figure."""
    file = m.folder / "run.json"
    write_runs(file, [m.run])
    (read,) = read_runs(file)
    assert read == json.loads(json.dumps(m.run))
    moves = read["moves"]
    assert moves["model"]["fingerprint"] == m.model.fingerprint
    assert moves["model"]["sampling"]["frames"] == m.model.encoder.n_frames
    assert moves["model"]["templates"]["texts"]
    assert moves["environment"]["decoder"]["libavcodec"]
    assert set(moves["settings"]) == set(m.cls.defaults)
    assert moves["labels"] or _LEARNS & m.cls.defaults.keys()
    assert read["cost"]["seconds"] > 0


def _lines(m: ProtocolMaterial) -> None:
    """A run is printed in two lines or more."""
    figures = [Figure.restore(row) for row in m.run["figures"]]
    lines = m.cls().lines(figures, m.run["tables"])
    assert len(lines) >= 2
    assert all(isinstance(line, str) for line in lines)


def _again(m: ProtocolMaterial) -> None:
    """Another run gives the same figures, and encodes no clip again."""
    (again,) = run_card(m.loaded(), m.data, m.model)
    assert json.dumps(again["figures"]) == json.dumps(m.run["figures"])
    assert again["cost"]["clips_encoded"] == 0, "features are computed once"


STEPS = (_name, _plan, _figures, _file, _lines, _again)
