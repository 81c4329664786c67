"""FROSTER equals the reference: activations and losses to 1e-5, gradients to 1e-4."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.methods import golden_froster as golden
from vlar.methods.froster.adapter import Froster, FrosterClasses
from vlar.methods.froster.checkpoint import split
from vlar.methods.full_finetune.adapter import Tuned
from vlar.training.clip_adapter import ClassStrings, class_strings, class_vectors
from vlar.training.trainable import TrainingBatch, TrainingOutput

A, FACTS = golden.tensors("a"), golden.facts()
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.save_base(tmp_path_factory.mktemp("base"))


def load(base: Path, folder: Path, distance: str = "cosine") -> Froster:
    path = golden.save_checkpoint(folder / "froster.pyth")
    return Froster.from_spec(f"{path}?base=openclip:{base}&distance={distance}")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Froster:
    return load(base, tmp_path_factory.mktemp("file"))


def student(adapter: Froster) -> Tuned:
    assert isinstance(adapter.student, Tuned)
    return adapter.student


def step(adapter: Froster) -> TrainingOutput:
    """One training step on the golden batch: two strings of each class."""
    strings = ClassStrings(A["input/train_tokens"], every=1)
    classes = FrosterClasses(strings, adapter.teacher_vectors(strings))
    targets = torch.nn.functional.one_hot(A["input/labels"], 5).float()
    return adapter.training_step(TrainingBatch(A["input/video"], targets), classes)


def test_tokens_behind_every_block(adapter: Froster) -> None:
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        frames = student(adapter).network.frames(A["input/video"], found.__setitem__)
    for block in range(3):
        assert torch.allclose(found[f"block{block}"], A[f"act/student_block{block}_out"], **CLOSE)
    assert torch.allclose(frames.flatten(0, 1), A["out/student_frame_emb_raw"], **CLOSE)


def test_frames_classes_and_logits(adapter: Froster) -> None:
    network, teacher = student(adapter).network, adapter.encoder.towers
    with torch.no_grad():
        frames = network.frames(A["input/video"])
        seen = teacher.image(A["input/video"].flatten(0, 1))
        words = class_vectors(network.text.features, A["input/eval_tokens"])
        strings = ClassStrings(A["input/train_tokens"])
        logits = network.logits(frames, words)
    assert torch.allclose(frames.flatten(0, 1), A["out/student_frame_emb_raw"], **CLOSE)
    assert torch.allclose(seen, A["out/teacher_frame_emb_raw"], **CLOSE)
    assert torch.allclose(words, A["out/eval_text"], **CLOSE)
    assert torch.allclose(logits, A["out/eval_logits"], **CLOSE)
    teacher_text = adapter.teacher_vectors(strings).mean(dim=0)
    teacher_text = torch.nn.functional.normalize(teacher_text, dim=-1)
    assert torch.allclose(teacher_text, A["out/teacher_text"], **CLOSE)


def test_projected_features(adapter: Froster) -> None:
    with torch.no_grad():
        vision = adapter.projectors.vision(A["out/student_frame_emb"])
        text = adapter.projectors.text(A["out/student_text"])
    assert torch.allclose(vision, A["out/residual_visual"], **CLOSE)
    assert torch.allclose(text, A["out/residual_text"], **CLOSE)


@pytest.mark.parametrize(("distance", "short"), [("cosine", "cos"), ("l2", "l2")])
def test_losses(base: Path, tmp_path: Path, distance: str, short: str) -> None:
    out = step(load(base, tmp_path, distance))
    told = FACTS["scalars"]
    assert torch.allclose(out.logits, A["out/logits_train"], **CLOSE)
    assert out.losses["ce"].item() == pytest.approx(told["loss/ce"], abs=1e-5)
    for ours, theirs in (("distill_vision", "distill_visual"), ("distill_text", "distill_text"),
                         ("total", "total")):  # fmt: skip
        wanted = told[f"loss/{theirs}_{short}"]
        assert out.losses[ours].item() == pytest.approx(wanted, abs=1e-5), ours


@pytest.mark.parametrize(("distance", "prefix", "count"), [("cosine", "grad/", 78),
                                                           ("l2", "grad_l2/", 5)])  # fmt: skip
def test_gradients(base: Path, tmp_path: Path, distance: str, prefix: str, count: int) -> None:
    adapter = load(base, tmp_path, distance)
    named = dict(adapter.trainable())
    step(adapter).losses["total"].backward()
    wanted = {name.removeprefix(prefix): grad for name, grad in golden.tensors("grad").items()
              if name.startswith(prefix)}  # fmt: skip
    assert len(wanted) == count
    for name, grad in wanted.items():
        towers, _, own = split({name: grad})
        ours = next(iter(own), None) or f"student.towers.{next(iter(towers))}"
        got = named[ours].grad
        assert got is not None, name
        assert (got - grad).abs().max() <= 1e-4 * grad.abs().max() + 1e-6, name
    assert all(p.grad is None for p in adapter.encoder.towers.model.parameters())


@pytest.mark.parametrize(
    ("golden_name", "radius"),
    [("frame_wise", 0), ("expand_temporal_view", 1), ("expand_temporal_view_step2", 2),
     ("expand_temporal_view_step3", 3), ("adapter", 1), ("aim", 1), ("stadapt_zeroinit", 1),
     ("cross_frame_attend", 1)],
)  # fmt: skip
def test_every_student(base: Path, tmp_path: Path, golden_name: str, radius: int) -> None:
    """Read from a checkpoint whose names tell the blocks, without teacher and projectors."""
    state = golden.weights("model.") | golden.plug_in(golden_name)
    path = golden.save_checkpoint(tmp_path / "student.pth", state)
    adapter = Froster.from_spec(f"{path}?base=openclip:{base}&radius={radius}")
    found: dict[str, Tensor] = {}
    wanted = golden.tensors("variants")[f"{golden_name}/frame_emb_raw"]
    with torch.no_grad():
        trimmed = student(adapter).network.frames(A["input/video"])
        full = student(adapter).network.frames(A["input/video"], found.__setitem__)
    assert torch.allclose(trimmed.flatten(0, 1), wanted, **CLOSE)
    assert torch.allclose(full.flatten(0, 1), wanted, **CLOSE)


def test_the_strings_of_a_class() -> None:
    text = FACTS["train_strings"][5]
    strings = class_strings(text, "froster")
    assert strings == FACTS["eval_strings_class0"]
    assert strings[FACTS["train_template_index"]] == FACTS["train_strings"][0]
