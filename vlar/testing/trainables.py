"""The contract of an adapter that can be trained: steps of ``check_adapter``."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from vlar import registry
from vlar.errors import VlarError
from vlar.media.lookup import reader
from vlar.model.model import Model, load
from vlar.testing.contract import refused
from vlar.testing.material import AdapterMaterial, frozen_hash, write_video
from vlar.training import hyperparameters
from vlar.training.task import attach
from vlar.training.trainable import Trainable, TrainingBatch

LABELS = ["riding a bike", "cooking", "opening the door"]
PARTS = [
    {"verb": "riding", "object": "a bike"},
    {"verb": "cooking", "object": "food"},
    {"verb": "opening", "object": "the door"},
]
TARGETS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.2, 0, 0.8], [1, 0, 0]])
_ADAPT = ("/adapt", "/adapt-cpu")


def batch_of(adapter: Any) -> TrainingBatch:
    """Random inputs of four clips with their targets, on the device of what is trained."""
    random, device = torch.Generator().manual_seed(0), adapter.trainable()[0][1].device
    reads = getattr(adapter, "reads", "pixels")
    tail = (adapter.frame_dim,) if reads == "features" else (3, 32, 32)
    inputs = torch.randn(4, adapter.n_frames, *tail, generator=random)
    return TrainingBatch(inputs.to(device), TARGETS.to(device))


def _fresh(m: AdapterMaterial) -> Any:
    torch.manual_seed(0)
    adapter = m.cls.attach(m.encoder)
    assert isinstance(adapter, Trainable)
    return adapter


def _step(m: AdapterMaterial) -> None:
    """A training step gives logits of the labels, finite losses, and gradients."""
    adapter = _fresh(m)
    adapter.read_label_parts(PARTS, [1, 1, 2])
    classes = adapter.training_classes(LABELS)
    named = adapter.trainable()
    assert len({name for name, _ in named}) == len(named) > 0
    output = adapter.training_step(batch_of(adapter), classes)
    assert output.logits.shape == TARGETS.shape
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in output.losses.values())
    output.losses["total"].backward()
    grads = [p.grad for _, p in named if p.grad is not None]
    assert any(grad.any() for grad in grads), "all gradients are 0"
    assert all(torch.isfinite(grad).all() for grad in grads)


def _training(m: AdapterMaterial) -> None:
    """Training changes the adapter and not the encoder, and the result can be built again."""
    adapter = _fresh(m)
    before, fingerprint = frozen_hash(m.encoder), adapter.fingerprint
    words = adapter.encode_text(LABELS)
    adapter.read_label_parts(PARTS, [1, 1, 2])
    classes = adapter.training_classes(LABELS)
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], lr=1e-2)
    for _ in range(3):  # zero layers at the start let others learn from the second step on
        optimiser.zero_grad()
        adapter.training_step(batch_of(adapter), classes).losses["total"].backward()
        optimiser.step()
    adapter.refresh()
    assert adapter.fingerprint != fingerprint
    assert frozen_hash(m.encoder) == before
    towers: Any = getattr(m.encoder, "towers", None)
    assert towers is None or all(not p.requires_grad for p in towers.model.parameters())
    again = m.cls.attach(m.encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint
    assert adapter.encode_text(LABELS).shape == words.shape


def support_of_videos(folder: Path) -> Path:
    """Two labels with two videos each, one broken video, and a table with verb and object."""
    for label, value in (("red bar", 250), ("green bar", 5)):
        for number in range(2):
            picture = np.full((48, 64, 3), 90, np.uint8)
            picture[10 + 5 * number : 30, 10:40] = (value, 255 - value, 60)
            write_video(folder / label / f"{number}.mp4", np.repeat(picture[None], 8, axis=0), 25)
    (folder / "red bar" / "broken.mp4").write_bytes(b"not a video")
    rows = [
        f"{clip.relative_to(folder)},{clip.parent.name},{','.join(clip.parent.name.split())}"
        for clip in sorted(folder.rglob("*.mp4"))
    ]
    (folder / "parts.csv").write_text("\n".join(["path,label,verb,object", *rows]))
    return folder


def support_of_recordings(folder: Path, modality: str) -> Path:
    """A table of copies of the example of a sensor: two labels with two spans each."""
    folder.mkdir()
    source, rows = reader(modality), ["path,label,start_s,end_s,verb,object"]
    example = source.example(folder)
    length_s = source.probe(example).duration_s
    for number in range(4):
        copy = shutil.copy(example, folder / f"{number}{example.suffix}")
        label, start_s = ("red bar", "green bar")[number % 2], number * length_s / 8
        end_s = start_s + length_s / 2
        rows.append(f"{Path(copy).name},{label},{start_s},{end_s},{','.join(label.split())}")
    example.unlink()
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def _adapted(m: AdapterMaterial) -> None:
    """Adapted to four examples, saved and loaded, the model answers the same."""
    if not registry.get("learner", m.cls.learner).from_labels:
        return
    before, video = frozen_hash(m.encoder), m.encoder.modality == "video"
    if video:
        folder = support_of_videos(m.folder / "support")
        examples = folder / "parts.csv" if m.cls.label_parts else folder  # pyright: ignore
    else:
        folder = support_of_recordings(m.folder / "support", m.encoder.modality)
        examples = folder / "clips.csv"
    short = {
        name: replace(numbers, epochs=1, warmup_epochs=0, average_from=1)
        for name, numbers in hyperparameters.recipes().items()
        if name.endswith(_ADAPT)
    }
    with mock.patch.object(hyperparameters, "recipes", return_value=short):
        adapted = Model(m.encoder).adapt(examples, method=m.name)
    assert frozen_hash(m.encoder) == before
    report = adapted.report
    assert [row.path.name for row in report.failed] == (["broken.mp4"] if video else [])
    assert report.examples == {"green bar": 2, "red bar": 2}
    assert report.training is not None
    assert report.training.method == m.name
    # Every method is weighed on what it did not see. Held-out clips show no pair without examples,
    # so weights for pairs are fixed instead.
    assert (report.training.held_out is None) == bool(getattr(m.cls, "label_parts", ()))
    assert report.training.closed_weight is not None
    loaded = load(adapted.save(m.folder / "mine"))
    assert loaded.fingerprint == adapted.fingerprint != m.encoder.fingerprint
    for clip in sorted(folder.rglob("[01].*")):
        ours, theirs = adapted.classify(clip), loaded.classify(clip)
        assert ours.predictions == theirs.predictions
        assert ours.unknown_probability == theirs.unknown_probability
        total = sum(p.probability for p in ours.predictions) + ours.unknown_probability
        assert abs(total - 1) < 1e-4, f"probabilities sum to {total:.4f}"


def _settings(m: AdapterMaterial) -> None:
    """A setting of another kind is refused by what is wrong in it."""
    for name in m.cls.attach(m.encoder).settings:
        refused(VlarError, "oddity", m.cls.attach, m.encoder, {name: {"oddity": 1}})


def _seed(m: AdapterMaterial) -> None:
    """The start is drawn from the seed, so that a training can be had again."""
    one, same = (attach(m.name, m.encoder, seed=3).state_dict() for _ in range(2))
    for name, array in one.items():
        np.testing.assert_array_equal(same[name], array, err_msg=name)


STEPS = (_step, _training, _adapted, _settings, _seed)
