"""MAXI: guesses, bags, and a training without any label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.encoders.clip import models
from tests.unit.training.fakes import FakeEncoder, ordered_clips
from vlar import registry
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.towers import weights_hash
from vlar.errors import LabelError, SupportError, UsageError
from vlar.heads.support import SupportItem
from vlar.heads.targets import Targets
from vlar.methods.maxi.objective import Maxi, match, mil_nce
from vlar.methods.temporal.adapter import Temporal
from vlar.model.model import Model, load
from vlar.training import hyperparameters
from vlar.training.batches import Dataset
from vlar.training.hyperparameters import for_no_labels, load_recipe
from vlar.training.loop import Training
from vlar.training.objectives import ObjectiveSet
from vlar.training.sources import FeatureSource
from vlar.training.task import TrainingTask

SMALL = {"width": 16, "heads": 2, "components": 6, "blocks": ["look", "flow"]}
NUMBERS = replace(load_recipe("temporal/adapt"), epochs=3, batch=8, warmup_epochs=1)
LABELS = ("archery", "apply lipstick", "clean and jerk")


def clips_of_labels(n: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 8, 12) whose mean is near the text of a label, and the labels' columns."""
    random = np.random.default_rng(3)
    words = FakeEncoder().encode_text([f"{label}" for label in LABELS])
    columns = np.arange(n) % len(LABELS)
    rows = words[columns][:, None] + noise * random.normal(size=(n, 8, 12)) / 3
    return rows.astype(np.float32), columns


def training(features: np.ndarray, settings: dict[str, Any], adapter: Any = None) -> Training:
    adapter = adapter or Temporal.attach(FakeEncoder(), SMALL)
    paths = [Path(f"{i}.mp4") for i in range(len(features))]
    shown = np.zeros((len(features), len(LABELS)), np.float32)
    dataset = Dataset(Targets(LABELS, shown), [str(p) for p in paths], paths)
    loader = FeatureSource(features).loader(adapter, dataset, range(len(features)))
    objectives = ObjectiveSet({"maxi": {"dictionary": ", ".join(LABELS), **settings}})
    return Training(adapter, loader, dataset, for_no_labels(NUMBERS), objectives=objectives)


def part(run: Training) -> Maxi:
    found = run.objectives.parts["maxi"]
    assert isinstance(found, Maxi)
    return found


def test_the_surest_guesses_are_kept():
    logits = np.array([[9.0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 5], [3, 0, 0]])
    assert match(logits, range(5), share=0.4, per_label=False) == {0: 0, 3: 2}
    assert match(logits, [7, 8, 9, 10, 11], share=0.5, per_label=True) == {7: 0, 9: 1, 10: 2}
    assert len(match(logits, range(5), share=1.0, per_label=False)) == 5


def test_clips_are_guessed_and_bags_are_filled():
    features, columns = clips_of_labels(30, noise=0.2)
    maxi = part(training(features, {"share": 0.8}))
    assert len(maxi.guesses) == 24
    right = [columns[row] == guess for row, guess in maxi.guesses.items()]
    assert np.mean(right) > 0.9
    texts = maxi.drawn(next(iter(maxi.guesses)), np.random.default_rng(0))
    assert len(texts) == 16
    label = LABELS[next(iter(maxi.guesses.values()))]
    assert all(text.startswith(f"{label}. ") for text in texts)


def test_captions_join_the_bags_of_their_clips(tmp_path: Path):
    features, _ = clips_of_labels(6)
    file = tmp_path / "captions.csv"
    file.write_text(f"path,caption\n{Path('0.mp4').absolute()},A child runs.\n")
    maxi = part(training(features, {"captions": str(file), "share": 1.0}))
    assert {"run", "running"} <= set(maxi._bags[0])
    assert "running" not in maxi._bags[1]
    file.write_text("path,caption\nelsewhere.mp4,A child runs.\n")
    with pytest.raises(LabelError, match="none of its 1 paths is an unlabelled clip"):
        training(features, {"captions": str(file)})


def test_captions_may_be_written_by_a_captioner(monkeypatch: pytest.MonkeyPatch):
    features, _ = clips_of_labels(6)
    asked: list[Path] = []

    def captions_of(paths: Any, captioner: Any) -> Any:
        asked.extend(paths)
        return ((f"{captioner} jumps",) for _ in paths)

    monkeypatch.setattr("vlar.methods.maxi.objective.captions_of", captions_of)
    monkeypatch.setattr("vlar.methods.maxi.objective.load_captioner", lambda spec: spec)
    maxi = part(training(features, {"captions": "concepts", "share": 0.5}))
    assert len(asked) == 3
    assert all("jumping" in bag for bag in maxi._bags.values())


def test_a_captioner_is_called_with_the_kept_clips():
    features, _ = clips_of_labels(6)
    asked: list[Path] = []

    def captioner(paths: Any) -> Any:
        asked.extend(paths)
        return [["someone jumps"] for _ in paths]

    maxi = Maxi.from_settings({"dictionary": ", ".join(LABELS), "share": 0.5})
    maxi.captioner = captioner
    run = training(features, {})
    run.objectives.parts["maxi"] = maxi
    run._begin_objectives()
    assert len(asked) == 3
    assert all("jumping" in bag for bag in maxi._bags.values())


def test_the_term_is_the_loss_of_the_drawn_bags():
    features, _ = clips_of_labels(8)
    run = training(features, {"size": 4, "share": 1.0, "temperature": 0.5})
    batch = run.batches.make(list(range(8)), 0, 0)
    assert batch is not None
    assert batch.known is not None
    assert not batch.known.any()
    assert batch.free_rows == tuple(range(8))
    from vlar.training.objectives import Step

    output = run._forward(batch)
    step = Step(0, 0.0, batch, output, lambda x: output, np.random.default_rng(5))
    maxi = part(run)
    (found,) = maxi.terms(step).values()
    random = np.random.default_rng(5)
    texts = [text for row in range(8) for text in maxi.drawn(row, random)]
    words = torch.from_numpy(FakeEncoder().encode_text(texts))
    guesses = torch.tensor([maxi.guesses[row] for row in range(8)])
    wanted = mil_nce(2 * output.vectors @ words.T, 4, guesses)
    torch.testing.assert_close(found, wanted)


def test_training_lowers_the_loss_and_is_mixed_with_the_start():
    features, _ = clips_of_labels(24)
    run = training(features, {})
    losses = [epoch.losses["maxi.bags"] for epoch in run.run().epochs]
    assert losses[-1] < losses[0]
    assert run.numbers.ensemble == 0.8
    assert run.numbers.mixup == run.numbers.label_smoothing == 0


def test_it_joins_labelled_clips():
    features, dataset = ordered_clips(16)
    free, _ = clips_of_labels(10)
    adapter = Temporal.attach(FakeEncoder(), SMALL)
    source = FeatureSource(features, free, [Path(f"{i}.mp4") for i in range(10)])
    loader = source.loader(adapter, dataset, range(16))
    run = Training(
        adapter, loader, dataset, NUMBERS, objectives=ObjectiveSet(["maxi"]),
        unlabelled=source.unlabelled(adapter),
    )  # fmt: skip
    assert set(part(run).guesses.values()) <= {0, 1}  # of the labelled clips' labels
    last = run.run().epochs[-1]
    assert np.isfinite(last.losses["maxi.bags"])
    assert last.losses["base"] > 0


def recordings(folder: Path, count: int = 4) -> list[SupportItem]:
    from tests import videos

    for i in range(count):
        videos.make_video(folder / f"{i}.mp4", 8, picture=lambda n, i=i: videos.noise(i))
    return [SupportItem(path, None, (), str(path)) for path in sorted(folder.glob("*.mp4"))]


def test_a_model_without_labels_answers_about_any(tmp_path: Path, monkeypatch: Any):
    recordings(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    short = TrainingTask.by_recipe

    def brief(*args: Any, **given: Any) -> TrainingTask:
        task = short(*args, **given, settings=None) if "settings" not in given else short(
            *args, **{**given, "settings": SMALL}
        )  # fmt: skip
        return replace(task, numbers=NUMBERS)

    monkeypatch.setattr(TrainingTask, "by_recipe", staticmethod(brief))
    objectives = {"maxi": {"dictionary": ", ".join(LABELS)}}
    model = Model(FakeEncoder()).adapt(None, objectives=objectives, unlabelled=tmp_path)
    assert model.labels is None
    assert model.report.recordings == 4
    assert [row.path.name for row in model.report.failed] == ["broken.mp4"]
    assert model.report.sentence() == (
        "trained temporal on 4 recordings; it answers about any labels"
    )
    answer = model.classify(tmp_path / "0.mp4", ["archery", "a cat"])
    assert len(answer.predictions) == 2
    assert np.isfinite(answer.unknown_probability)


def test_what_cannot_work_is_named(tmp_path: Path):
    base, free = Model(FakeEncoder()), tmp_path / "free"
    free.mkdir()
    recordings(free, 1)
    named = {"maxi": {"dictionary": ", ".join(LABELS)}}
    with pytest.raises(UsageError, match="nothing to learn from"):
        base.adapt(None)
    with pytest.raises(UsageError, match="'ridge' is a closed form"):
        base.adapt(None, method="ridge", objectives=named, unlabelled=free)
    with pytest.raises(UsageError, match="name maxi, or give labelled examples"):
        base.adapt(None, objectives=["consistency"], unlabelled=free)
    with pytest.raises(UsageError, match="needs a dictionary"):
        base.adapt(None, objectives=["maxi"], unlabelled=free)
    with pytest.raises(SupportError, match="1 unlabelled clips can be read"):
        base.adapt(None, objectives=named, unlabelled=free)
    features, _ = clips_of_labels(4)
    with pytest.raises(LabelError, match="needs at least two"):
        training(features, {"dictionary": "archery"})


def test_methods_without_free_texts_are_named():
    class NoTexts(Temporal):
        def text_vectors(self, texts: Any) -> Any:
            return super(Temporal, self).text_vectors(texts)

    features, _ = clips_of_labels(4)
    with pytest.raises(UsageError, match=r"NoTexts reads labels only.*train 'temporal'"):
        training(features, {}, NoTexts.attach(FakeEncoder(), SMALL))


@pytest.fixture(scope="module")
def clip_encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return load_encoder(f"openclip:{folder}")


@pytest.mark.parametrize("method", ["lora", pytest.param("tuned", marks=pytest.mark.slow)])
def test_the_towers_of_a_clip_learn_from_bags(
    method: str, clip_encoder: Any, tmp_path: Path, monkeypatch: Any
):
    adapter = registry.get("adapter", method).attach(clip_encoder)
    vectors = adapter.text_vectors(["archery", "a long text about archery"])([1, 0])
    plain = clip_encoder.encode_text(["a long text about archery", "archery"])
    np.testing.assert_allclose(vectors.detach().numpy(), plain, atol=1e-5)
    named = adapter.trainable()
    (
        adapter.text_vectors(["archery", "lipstick"])([0, 1]) * torch.tensor([[1.0], [-1]])
    ).sum().backward()
    assert any(p.grad is not None and p.grad.any() for _, p in named)
    short = {
        name: replace(numbers, epochs=1, warmup_epochs=0, average_from=1, batch=4, micro_batch=None)
        for name, numbers in hyperparameters.recipes().items()
        if name.endswith(("/adapt", "/adapt-cpu"))
    }
    monkeypatch.setattr(hyperparameters, "recipes", lambda: short)
    recordings(tmp_path)
    before = weights_hash(clip_encoder.towers.model)
    named = {"maxi": {"dictionary": ", ".join(LABELS), "size": 2}}
    model = Model(clip_encoder).adapt(None, method=method, objectives=named, unlabelled=tmp_path)
    assert weights_hash(clip_encoder.towers.model) == before
    assert model.fingerprint != clip_encoder.fingerprint
    again = load(model.save(tmp_path / "tuned"))
    ask = (tmp_path / "0.mp4", ["archery", "a cat"])
    assert again.classify(*ask).predictions == model.classify(*ask).predictions
