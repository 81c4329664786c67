"""A video classifier answers in words through the names of its classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny_models
from tests.clips import clips_of
from tests.refusals import refused
from tests.videos import make_video
from vlar.encoders.base import load_encoder
from vlar.encoders.clip.hf_classifier import ClassNamesEncoder
from vlar.errors import ModelError
from vlar.model.model import Model

NAMES = ("swimming in a pool", "playing the piano", "riding a horse", "chopping vegetables")
#: Other words for the same actions: what a user asks, whatever the classifier calls it.
ASKED = ("a person swims", "someone plays a keyboard", "horseback riding", "cutting carrots")
LEVELS = (10, 85, 165, 245)  # brightness of a clip that shows each class


def planted(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """A classifier of brightness: clips of level ``LEVELS[i]`` are of class i.

    All attention and both layers of every block are zero, so that a token is the mean of its
    pixels; the classifier gives a class minus the squared distance to what it reads at its level.
    """
    import torch
    import transformers as hf

    side, t = tiny_models.SIDE, tiny_models.FRAMES
    config = hf.VideoMAEConfig(
        **tiny_models.image_tower(num_frames=t, tubelet_size=2), use_mean_pooling=True,
        **tiny_models.named(names),
    )  # fmt: skip
    model = hf.VideoMAEForVideoClassification(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.zero_()
        # A token is [b, 1, -1, 0 ...] and its position; the norm of it changes with b.
        convolution = model.videomae.embeddings.patch_embeddings.projection
        convolution.weight[0] = 1.0 / convolution.weight[0].numel()
        convolution.bias[1], convolution.bias[2] = 1.0, -1.0
        model.fc_norm.weight.fill_(1.0)
        pixels = torch.tensor([(level / 255 - 0.5) / 0.5 for level in LEVELS])
        shown = pixels.view(4, 1, 1, 1, 1).expand(4, t, 3, side, side)
        read: list[torch.Tensor] = []
        hook = model.classifier.register_forward_pre_hook(lambda _, given: read.append(given[0]))
        model(pixel_values=shown)
        hook.remove()
        model.classifier.weight.copy_(200 * read[0][: len(names)])
        model.classifier.bias.copy_(-100 * (read[0] ** 2).sum(dim=1)[: len(names)])
    model.save_pretrained(folder)
    tiny_models.videos(image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    return folder


def shown(level: int, seed: int) -> np.ndarray:
    """(4, 32, 32, 3) uint8 of about this level, with noise."""
    noise = np.random.default_rng(seed).integers(-8, 9, (4, 32, 32, 3))
    return (level + noise).clip(0, 255).astype(np.uint8)


CLIPS = [(label, shown(LEVELS[label], 7 * i + label)) for i in range(5) for label in range(4)]


def accuracy(encoder: Any, texts: tuple[str, ...]) -> float:
    words = encoder.encode_text(texts)
    vectors = np.stack([encoder.encode(clips_of(frames[None]))[0].vector for _, frames in CLIPS])
    return float(np.mean((vectors @ words.T).argmax(axis=1) == [label for label, _ in CLIPS]))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = load_encoder(f"hf:{planted(tmp_path_factory.mktemp('planted'))}")
    assert isinstance(found, ClassNamesEncoder)
    return found


def test_labels_in_other_words_find_the_planted_class(encoder: Any):
    assert accuracy(encoder, NAMES) == 1.0
    assert accuracy(encoder, ASKED) == 1.0


def test_with_shuffled_names_no_label_finds_its_class(tmp_path: Path):
    """The control: every class has the name of another, so that words lead to the wrong clips."""
    shuffled = load_encoder(f"hf:{planted(tmp_path, NAMES[1:] + NAMES[:1])}")
    assert accuracy(shuffled, ASKED) == 0.0


def test_names_that_mean_nothing_are_at_chance(tmp_path: Path):
    """Over all turns of the labels, names without a meaning are right once in four."""
    empty = load_encoder(f"hf:{planted(tmp_path, ('zug', 'blarp', 'fnord', 'qwix'))}")
    turns = [tuple(np.roll(ASKED, turn)) for turn in range(4)]
    assert np.mean([accuracy(empty, turn) for turn in turns]) == pytest.approx(0.25, abs=0.02)


def test_the_whole_chain_answers(encoder: Any, tmp_path: Path):
    video = make_video(
        tmp_path / "a.mp4", 20, fps=10, picture=lambda i: np.full((64, 96, 3), 165, np.uint8)
    )
    answer = Model(encoder).classify(video, list(ASKED))
    assert answer.predictions[0].label == "horseback riding"


def test_few_examples_use_what_the_classifier_reads(encoder: Any):
    (row,) = encoder.encode(clips_of(CLIPS[0][1][None]))
    assert row.features.shape == (1, 4 + tiny_models.towers()["hidden_size"])
    assert [block.kind for block in encoder.frame_blocks] == ["logits", "clip"]


def change(folder: Path, names: list[str] | dict[str, str]) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["id2label"] = names if isinstance(names, dict) else dict(enumerate(names))
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4"], "have no names.*'LABEL_0'"),
        (["0", "1", "2", "3", "4"], "have no names"),
        (["run", "Run", "run", "run ", "run"], "have no names"),
        (["a", "b", "", "d", "e"], "have no names"),
        (["x" * 5_000, "b", "c", "d", "e"], "5,000 characters"),
        ({"0": "a", "2": "b"}, "not numbered from 0 to 1"),
    ],
)
def test_names_that_are_none_are_one_line(names: Any, why: str, tmp_path: Path):
    folder = tiny_models.save("videomae", tmp_path / "m")
    change(folder, names)
    caught = refused(ModelError, why, load_encoder, f"hf:{folder}")
    assert "\n" not in str(caught.value)


def test_names_are_cleaned(tmp_path: Path):
    folder = tiny_models.save("videomae", tmp_path / "m")
    change(folder, ["\x1b[2JApplyEyeMakeup", "brush_hair", "Pushing [something]", "a\nb", "dive"])
    found = load_encoder(f"hf:{folder}")
    assert isinstance(found, ClassNamesEncoder)
    assert found.names[1:4] == ("brush hair", "pushing something", "a b")
    assert all(name.isprintable() for name in found.names)
