"""Three families to come as toys in this file: no file of vlar changes for any of them.

An event camera with its reader, ten presets of one skeleton tower, and a federated learner. Each is
found by its registration, as a part of another package would be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import vlar
from tests import skeletons
from vlar import registry
from vlar.adapters.base import Adapter
from vlar.adapters.settings import check_settings, read_settings, setting
from vlar.encoders.base import Block, Encoder, FrameBlock
from vlar.encoders.beside import Beside
from vlar.errors import DecodeError, ModelError, UnknownNameError, UsageError
from vlar.evaluation.corruptions.base import Corruption, corrupt, names_for
from vlar.media.base import Reader
from vlar.model.adapt import Adapted
from vlar.model.adapt_report import AdaptReport, TrainingReport
from vlar.model.core import ModelCore
from vlar.model.examples import read_complete
from vlar.model.method import AdaptTask
from vlar.numeric import unit
from vlar.testing import check_reader
from vlar.training.batches import Dataset
from vlar.training.fit import answers
from vlar.training.hyperparameters import Hyperparameters
from vlar.training.learners import Learner
from vlar.training.loop import Training
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask
from vlar.training.trainable import Trainable, TrainingBatch, TrainingOutput
from vlar.types import Clip, Encoded, Sampling, Window

# An event camera


@dataclass(frozen=True)
class EventInfo:
    path: Path
    duration_s: float


class EventReader(Reader):
    """(L, 3) float32 place, height and polarity of the L events of a window, whatever L is."""

    modality = "toy-events"
    endings = frozenset({".toyevents"})
    gives_all = True

    def probe(self, path: Path) -> EventInfo:
        return EventInfo(path, float(self._table(path)[-1, 0]) + 1e-3)

    def read_clip(self, path: Path, window: Window | None, sampling: Sampling) -> Clip:
        table, end_s = self._table(path), self.probe(path).duration_s
        window = window or Window(0.0, end_s)
        if window.start_s >= end_s:
            raise DecodeError(f"{path}: the window lies past the end ({end_s:g} s)")
        times_s = table[:, 0]
        inside = (times_s >= window.start_s) & (times_s < window.end_s)
        data = table[inside, 1:].astype(np.float32)
        return Clip(path, window, self.modality, data, times_s[inside])

    def example(self, folder: Path) -> Path:
        return moving_dot(folder / "example.toyevents", 1)

    def _table(self, path: Path) -> np.ndarray:
        try:
            with path.open("rb") as file:
                return np.load(file, allow_pickle=False).reshape(-1, 4)
        except (OSError, ValueError) as error:
            raise DecodeError(f"{path}: not a recording of events ({error})") from error


class EventEncoder(Encoder):
    """Counts of events in eight spans of time and four places."""

    name, modality, licence = "toy-events", "toy-events", "MIT"
    dim, frame_dim, n_frames = 12, 4, 8
    fixed_rows, all_samples = 8, True
    logit_scale, max_tokens = 12.0, 32
    frame_blocks = (FrameBlock("counts", 4, "appearance"),)
    blocks = (Block("joint", 12, 1.0, True),)
    fingerprint = "toy-events-1"

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = [self._counts(clip) for clip in clips]
        return [Encoded(row, self.pool(row[None])[0]) for row in rows]

    def _counts(self, clip: Clip) -> np.ndarray:
        share = (clip.times_s - clip.window.start_s) / clip.window.duration_s
        edges = np.linspace(0, 1, 9), np.linspace(0, 1, 5)
        counts = np.histogram2d(share, clip.data[:, 0], edges)[0]
        return (counts / max(len(share), 1)).astype(np.float32)

    def pool(self, features: np.ndarray) -> np.ndarray:
        early, late = features[:, :4].sum(axis=1), features[:, 4:].sum(axis=1)
        return unit(np.concatenate([early, late, np.full_like(early, 0.01)], axis=1))

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        rows = hashed(texts, self.dim)
        for row, text in zip(rows, texts, strict=True):
            for word, way in (("right", [1, 1, 0, 0]), ("left", [0, 0, 1, 1])):
                if word in text.split():
                    row[:] = unit(np.array([*way, *way[::-1], 0, 0, 0, 0], np.float32))
        return rows

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


class LostEvents(Corruption):
    """A share of the events is lost."""

    modality, family = "toy-events", "noise"
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)

    def apply(self, frames: Any, level: float, random: np.random.Generator) -> Any:
        return frames[random.random(len(frames)) >= level]

    @classmethod
    def check(cls, samples: Any) -> None:
        if samples.ndim != 2:
            raise UsageError(f"events have the shape (L, 3), got {samples.shape}")


def hashed(texts: Sequence[str], width: int) -> np.ndarray:
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    rows = [np.random.default_rng(seed).normal(size=width) for seed in seeds]
    return unit(np.array(rows, np.float32).reshape(-1, width))


def moving_dot(path: Path, direction: int, seed: int = 0) -> Path:
    """Events of a dot that crosses the picture in two seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    times_s = np.sort(random.uniform(0, 2, 300 + 20 * seed))
    place = np.clip(times_s / 2 + random.normal(0, 0.02, len(times_s)), 0, 0.999)
    place = place if direction > 0 else 0.999 - place
    columns = times_s, place, random.uniform(0, 1, len(times_s)), random.integers(0, 2, len(place))
    with path.open("wb") as file:
        np.save(file, np.column_stack(columns))
    return path


# Ten skeleton towers

PRESETS = "".join(
    f"[adapter.toy-tower-{width}-{people}]\nof = 'toy-tower'\n"
    f"settings = {{ width = {width}, people = {people} }}\n"
    for width in (4, 8, 12, 16, 20)
    for people in (1, 2)
)


@dataclass(frozen=True)
class TowerConfig:
    width: int = setting(4, at_least=1)
    people: int = setting(1, at_least=1)

    def __post_init__(self) -> None:
        check_settings(self, "tower setting")


class Joints(Beside):
    """All joints of some people next to the features of the encoder."""

    def __init__(self, encoder: Encoder, people: int) -> None:
        block = FrameBlock("joints", people * 20 * 3, "joints")
        super().__init__(encoder, [block], f"joints {people}")

    def rows(self, clip: Clip, features: np.ndarray) -> np.ndarray:
        wide = np.zeros((len(features), self.frame_blocks[-1].width), np.float32)
        for n, frame in enumerate(clip.data[: len(wide)]):
            flat = np.nan_to_num(frame[:, :20, :3]).reshape(-1)[: wide.shape[1]]
            wide[n, : len(flat)] = flat
        return wide


class ToyTower(Adapter, Trainable):
    """A residual of the vector from the mean joints; the reading encoder gives their features."""

    changes: ClassVar[frozenset[str]] = frozenset({"frame_dim", "frame_blocks"})
    reads = "features"

    def __init__(self, encoder: Encoder, config: TowerConfig) -> None:
        import torch
        from torch import nn

        self._wrap(encoder, "toy-tower")
        self.config, self.joints = config, Joints(encoder, config.people)
        self.frame_dim, self.frame_blocks = self.joints.frame_dim, self.joints.frame_blocks
        self._plain = encoder.frame_dim
        leave = nn.Linear(config.width, encoder.dim, bias=False)
        torch.nn.init.zeros_(leave.weight)
        n_joints = self.frame_dim - self._plain
        self.network = nn.Sequential(nn.Linear(n_joints, config.width), nn.Tanh(), leave)
        self.refresh()

    @classmethod
    def attach(cls, encoder: Encoder, settings: Any = None) -> ToyTower:
        return cls(encoder, read_settings(TowerConfig, settings or {}, "tower setting"))

    @classmethod
    def check_settings(cls, settings: Any) -> None:
        read_settings(TowerConfig, settings, "tower setting")

    @classmethod
    def reading(cls, encoder: Encoder, settings: Any) -> Encoder:
        return Joints(encoder, read_settings(TowerConfig, settings, "tower setting").people)

    @property
    def settings(self) -> Any:
        return {"width": self.config.width, "people": self.config.people}

    @property
    def module(self) -> Any:
        return self.network

    def refresh(self) -> None:
        self.fingerprint = self.content_hash(self.encoder, self.settings)

    def encode(self, clips: Sequence[Clip]) -> list[Encoded]:
        rows = self.joints.encode(clips)
        return [Encoded(row.features, self.pool(row.features[None])[0]) for row in rows]

    def pool(self, features: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self._vectors(torch.from_numpy(self.training_inputs(features))).numpy()

    def _vectors(self, inputs: Any) -> Any:
        from torch.nn.functional import normalize

        vectors, joints = inputs[:, 0].split([self.dim, inputs.shape[2] - self.dim], dim=1)
        return normalize(vectors + self.network(joints), dim=1)

    def training_inputs(self, features: np.ndarray) -> np.ndarray:
        vectors = self.encoder.pool(features[:, :, : self._plain])
        joints = features[:, :, self._plain :].mean(axis=1)
        return np.concatenate([vectors, joints], axis=1)[:, None]

    def trainable(self) -> Any:
        self.network.requires_grad_(True)
        return list(self.network.named_parameters())

    def training_classes(self, labels: Sequence[str]) -> Any:
        import torch

        return torch.from_numpy(ModelCore(self, templates=self.templates).encode_labels(labels))

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        logits = self.logit_scale * self._vectors(batch.inputs) @ classes.T
        return TrainingOutput(logits, {"total": batch.loss(logits)})


def tower_recipe() -> dict[str, Hyperparameters]:
    return {"adapt": Hyperparameters(epochs=4, batch=4, warmup_epochs=0, learning_rate=1e-2,
                                     augment=False)}  # fmt: skip


# A federated learner, and one that starts from models alone


@dataclass(frozen=True)
class Federated(Learner):
    """Rounds of trainings of each client alone, and the mean of what they learned."""

    rounds: int = setting(2, at_least=1)
    steps: int = setting(2, at_least=1)
    facts: ClassVar[tuple[str, ...]] = ("device",)

    def fit(self, core: ModelCore, asked: AdaptTask) -> Adapted:
        assert asked.support is not None
        task = TrainingTask.of(core.encoder, asked)
        examples = read_complete(task.reading(core), asked.support, asked.items)
        dataset = Dataset.of(asked.support.labels, examples.items)
        source = FeatureSource(examples.features)
        clients = [item.facts["client"] for item in examples.items]
        copies: list[Training] = []
        for client in sorted(set(clients)):
            rows = [row for row, name in enumerate(clients) if name == client]
            adapter = task.attach()
            loader = source.loader(adapter, dataset, rows)
            part = dataset.part(rows)
            copies.append(Training(adapter, loader, part, task.numbers, seed=task.seed))
        sizes = [len(copy.dataset) for copy in copies]
        for _ in range(self.rounds):
            for copy in copies:
                copy.advance(self.steps)
            states = [copy.parameters() for copy in copies]
            mean = {
                name: sum(n * s[name] for n, s in zip(sizes, states, strict=True)) / sum(sizes)
                for name in states[0]
            }
            for copy in copies:
                copy.put(mean)
        copies[0].finish()
        return answers(task, copies[0], asked.support, examples)


@dataclass(frozen=True)
class MeanOfModels(Learner):
    """The mean of the given model and another one; it needs no clip."""

    without_examples: ClassVar[bool] = True
    other: str = setting("")

    def fit(self, core: ModelCore, asked: AdaptTask) -> Adapted:
        assert asked.support is None
        one, two = core.encoder, vlar.load(self.other).encoder
        assert isinstance(one, Adapter)
        assert isinstance(two, Adapter)
        made = asked.adapter.attach(one.encoder, one.settings)
        states = one.state_dict(), two.state_dict()
        made.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
        done = TrainingReport(asked.method.name, "the mean of two models", 0, 0, 0.0, 0.0)
        return Adapted(ModelCore(made), None, AdaptReport({}, (), None, done))


# The trials


@pytest.fixture(scope="module", autouse=True)
def _families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The parts, known for this module only: other tests list what there is."""
    toys = (
        ("reader", "toy-events", EventReader), ("encoder", "toy-events", EventEncoder),
        ("corruption", "toy-lost-events", LostEvents), ("adapter", "toy-tower", ToyTower),
        ("recipe", "toy-tower", tower_recipe), ("learner", "toy-federated", Federated),
        ("learner", "toy-mean", MeanOfModels),
    )  # fmt: skip
    for kind, name, part in toys:
        vlar.register(kind, name)(part)
    file = tmp_path_factory.mktemp("tower") / "presets.toml"
    file.write_text(PRESETS)
    presets = registry.add_presets(file)
    yield
    for preset in presets:
        del registry._added[preset.kind, preset.name]
        registry.loaded[preset.kind].pop(preset.name, None)
    for kind, name, _ in toys:
        del registry.loaded[kind][name]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    for label, direction in (("to the right", 1), ("to the left", -1)):
        for number in range(3):
            moving_dot(folder / label / f"{number}.toyevents", direction, number)
    return folder


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of skeletons of two clients, each with both labels."""
    folder = tmp_path_factory.mktemp("bodies")
    rows = ["path,label,client,device"]
    for wave, label in ((True, "wave"), (False, "sit down")):
        for number in range(4):
            file = folder / f"{label[0]}{number}_skeleton.json"
            skeletons.write_ucla(file, wave, frames=30 + 2 * number)
            rows.append(f"{file.name},{label},{'ab'[number % 2]},kinect")
    table = folder / "bodies.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_the_reader_of_events_keeps_the_contract():
    check_reader(EventReader)


@pytest.mark.slow
def test_an_event_camera_classifies_adapts_and_is_searched(events: Path, tmp_path: Path):
    model = vlar.load("toy-events")
    clip = vlar.read_clip(events / "to the left" / "1.toyevents")
    assert len(clip.data) == 320
    answer = model.classify(clip, ["to the right", "to the left"])
    assert (answer.label, answer.model) == ("to the left", "toy-events")
    other = moving_dot(tmp_path / "other.toyevents", -1, seed=9)
    for method in ("auto", "temporal"):
        mine = model.adapt(events, method=method)
        assert mine.classify(other).label == "to the left"
    assert vlar.load(mine.save(tmp_path / "m")).classify(other).label == "to the left"
    with vlar.Library(tmp_path / "events.vlar", model) as library:
        assert library.add(events, window_s=1.0, stride_s=1.0).added == 6
    with vlar.Library(tmp_path / "events.vlar") as library:
        assert library.add([other]).added == 1  # by the manifest: all samples of a window
        hits = library.query("to the right", k=3)
        assert {Path(hit.path).parent.name for hit in hits} == {"to the right"}
    few = corrupt(clip.data, "toy-lost-events", 5, seed=0)
    assert 0 < len(few) < len(clip.data) / 2
    assert "toy-lost-events" in names_for("toy-events")


def test_ten_presets_are_methods_of_one_tower(bodies: Path, tmp_path: Path):
    names = [name for name in registry.names("adapter") if name.startswith("toy-tower-")]
    assert len(names) == 10
    base = vlar.load("skeleton")
    for name in ("toy-tower-8-1", "toy-tower-20-2"):
        mine = base.adapt(_labels_only(bodies), method=name)
        width, people = map(int, name.split("-")[2:])
        assert mine.encoder.settings == {"width": width, "people": people}
        assert mine.report.training is not None
        assert (mine.report.training.method, mine.report.training.recipe) == (
            name, "toy-tower/adapt",
        )  # fmt: skip
        again = vlar.load(mine.save(tmp_path / name))
        assert again.fingerprint == mine.fingerprint
        assert again.classify(bodies.with_name("w0_skeleton.json")).label == "wave"
    mine = base.adapt(
        _labels_only(bodies), method="toy-tower-8-1", settings={"people": 2, "epochs": 2}
    )
    assert mine.encoder.settings == {"width": 8, "people": 2}
    with pytest.raises(UnknownNameError, match="did you mean 'people'"):
        base.adapt(_labels_only(bodies), method="toy-tower-8-1", settings={"poeple": 2})


def test_a_federated_learner_is_named_and_trains_a_copy_a_client(bodies: Path, tmp_path: Path):
    base = vlar.load("skeleton")
    how = {"method": "toy-tower-8-1", "learner": "toy-federated"}
    mine = base.adapt(bodies, settings={"rounds": 3, "steps": 1, "epochs": 6}, **how)
    assert mine.report.training is not None
    assert mine.report.training.steps == 3
    assert mine.report.examples == {"sit down": 4, "wave": 4}
    assert mine.classify(bodies.with_name("w1_skeleton.json")).label == "wave"
    other = base.adapt(bodies, settings={"rounds": 1, "steps": 3, "epochs": 6}, **how)
    assert other.fingerprint != mine.fingerprint
    # One client is a training of its own.
    one = bodies.with_name("one.csv")
    one.write_text(bodies.read_text().replace(",b,", ",a,"))
    alone = base.adapt(one, settings={"rounds": 4, "steps": 2, "epochs": 4}, **how)
    usual = base.adapt(one, settings={"epochs": 4}, method="toy-tower-8-1",
                       learner="toy-federated")  # fmt: skip
    assert alone.report.training.steps == 8
    assert usual.report.training.steps == 4
    with pytest.raises(ModelError, match="learner setting rounds is 0"):
        base.adapt(bodies, settings={"rounds": 0}, **how)
    saved = [model.save(tmp_path / name) for name, model in (("a", mine), ("b", other))]
    both = vlar.load(saved[0]).adapt(
        None, method="toy-tower", learner="toy-mean", settings={"other": str(saved[1])}
    )
    weights = [model.encoder.state_dict() for model in (mine, other, both)]
    for name, array in weights[2].items():
        np.testing.assert_allclose(array, (weights[0][name] + weights[1][name]) / 2, atol=1e-7)
    assert json.loads((both.save(tmp_path / "c") / "vlar.json").read_text())["head"] is None


def _labels_only(table: Path) -> Path:
    """The same examples without the column that the federated learner declares."""
    plain = table.with_name("plain.csv")
    rows = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    plain.write_text("\n".join(rows) + "\n")
    return plain
