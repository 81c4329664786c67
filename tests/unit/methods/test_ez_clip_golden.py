"""EZ-CLIP equals the reference: activations and losses 1e-5, gradients 1e-4, every variant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import ez_clip_plain as plain
from tests.unit.methods import golden_ez as golden
from vlar.methods.ez_clip.network import agreement, motion_loss, softened_contrastive

A = golden.tensors("golden_a")
FACTS = golden.facts("golden_a")
GRADS = golden.tensors("grad")
VARIANTS = golden.tensors("variants")
VIDEO, CLASSES = A["input/video"], A["input/class_tokens"]
ONE_HOT = F.one_hot(A["input/labels"], 5).float()


def close(got: Tensor, wanted: Tensor, limit: float = 1e-5) -> bool:
    return got.shape == wanted.shape and bool((got - wanted).abs().max() <= limit)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        golden.network().frames(VIDEO, lambda name, t: found.update({name: t.clone()}))
    return found


def test_the_tokens_before_the_first_block(recorded: dict[str, Tensor]) -> None:
    assert close(recorded["ln_pre.out"], A["act/ln_pre_out"])


@pytest.mark.parametrize("block", range(3))
def test_every_block(recorded: dict[str, Tensor], block: int) -> None:
    assert close(recorded[f"prompt{block}.query"], A[f"act/prompt{block}_in"])
    assert close(recorded[f"prompt{block}.token"], A[f"act/prompt{block}_token"])
    assert close(recorded[f"block{block}.out"], A[f"act/block{block}_out"])


def test_an_adapter() -> None:
    seen = A["act/block0_adapter_in"]
    with torch.no_grad():
        change = golden.network().parts.visual_adapters["0"](seen)
    assert close(seen + change, A["act/block0_adapter_out"])


def test_features() -> None:
    network = golden.network()
    with torch.no_grad():
        frames = network.frames(VIDEO)
        words = network.texts(CLASSES)
        assert close(network.texts(CLASSES[A["input/labels"]]), A["out/text_emb_batch"])
        for some, wanted in zip(A["input/aug_tokens"], A["out/text_emb_aug"], strict=True):
            assert close(network.texts(some), wanted)
    assert close(frames, A["out/frame_emb"])
    assert close(frames.mean(dim=1), A["out/video_emb"])
    assert close(words, A["out/text_emb_classes"])


def test_answers() -> None:
    """Constant factor 100; probabilities are averaged over templates."""
    network = golden.network()
    with torch.no_grad():
        video = F.normalize(network.frames(VIDEO).mean(dim=1), dim=-1)
        logits = network.config.logit_scale * video @ F.normalize(network.texts(CLASSES), dim=1).T
        templates = [F.normalize(network.texts(ids), dim=1) for ids in A["input/aug_tokens"]]
        each = torch.stack([(100 * video @ words.T).softmax(dim=1) for words in templates])
    assert close(logits, A["out/eval_logits_100"], 1e-4)  # 100 times a cosine
    assert close(logits.softmax(dim=1), A["out/eval_probs"])
    assert close(each.mean(dim=0), A["out/eval_probs_aug"])


def test_losses() -> None:
    told = FACTS["scalars"]
    with torch.no_grad():
        output = golden.network().step(VIDEO, ONE_HOT, CLASSES)
    losses = output.losses
    assert losses["image_kl"].item() == pytest.approx(told["loss/image_kl"], abs=1e-5)
    assert losses["text_kl"].item() == pytest.approx(told["loss/text_kl"], abs=1e-5)
    assert losses["motion"].item() == pytest.approx(told["motion/loss"], abs=1e-5)
    assert losses["total"].item() == pytest.approx(told["loss/total"], abs=1e-5)
    assert close(output.logits[:, A["input/labels"]], A["out/logits_image"])
    assert output.frames is not None
    assert close(output.frames, A["out/frame_emb"])
    assert output.classes is not None
    assert close(output.classes, F.normalize(A["out/text_emb_classes"], dim=-1))


def test_the_contrastive_loss_alone() -> None:
    same = agreement(ONE_HOT)
    assert close((10 * same).softmax(dim=1), A["out/target_probs"])
    image, text = softened_contrastive(A["out/logits_image"], same, 10)
    assert image.item() == pytest.approx(FACTS["scalars"]["loss/image_kl"], abs=1e-5)
    assert text.item() == pytest.approx(FACTS["scalars"]["loss/text_kl"], abs=1e-5)
    assert close(A["out/logits_image"].T, A["out/logits_text"])


def test_the_motion_loss_alone() -> None:
    frames = A["out/frame_emb"].clone().requires_grad_(True)
    loss = motion_loss(frames)
    loss.backward()
    assert loss.item() == pytest.approx(FACTS["scalars"]["motion/loss"], abs=1e-6)
    assert frames.grad is not None
    assert close(frames.grad, GRADS["grad_motion_wrt/frame_emb"], 1e-7)


def test_gradients() -> None:
    network = golden.network()
    network.parts.requires_grad_(True)
    network.step(VIDEO, ONE_HOT, CLASSES).losses["total"].backward()
    names = {m["name"]: name for name, m in FACTS["name_mapping"].items()}
    named = dict(network.parts.named_parameters())
    assert {names[name] for name in named} == set(FACTS["trainable_reference_names"])
    for name, parameter in named.items():
        wanted = GRADS[f"grad/{names[name]}"]
        assert parameter.grad is not None, name
        limit = 1e-4 * wanted.abs().max().item() + 1e-6
        assert close(parameter.grad, wanted, limit), name


TIME = {"prompts": "none", "time_adapters": True}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"temporal_embedding": True}, "temporal_embedding/frame_emb"),
        ({"prompts": "shallow"}, "shallow/frame_emb"),
        ({"prompts": "none"}, "adapters_only/frame_emb"),
        (TIME, "t_adapter/frame_emb_one_video_at_a_time"),
        ({**TIME, "mix_videos": True}, "t_adapter/frame_emb_batched_as_reference"),
        ({"prompts": "none", "visual_hidden": 0}, "plain_clip/frame_emb"),
    ],
)
def test_every_variant(settings: dict[str, Any], key: str) -> None:
    network = golden.network(**settings)
    with torch.no_grad():
        assert close(network.frames(VIDEO), VARIANTS[key])
    if not settings.get("mix_videos") and settings.get("visual_hidden") != 0:
        with torch.no_grad():
            alone = [network.frames(video[None]) for video in VIDEO]
            literal = plain.encode_videos(golden.clip(), network.parts, VIDEO)
        assert close(torch.cat(alone), VARIANTS[key])
        assert close(literal, VARIANTS[key])


def test_plain_text() -> None:
    network = golden.network(text_hidden=0)
    with torch.no_grad():
        assert close(network.texts(CLASSES), VARIANTS["plain_clip/text_emb_classes"])


def test_a_single_video_is_right_where_a_batch_is_mixed() -> None:
    network = golden.network(**TIME, mix_videos=True)
    with torch.no_grad():
        alone = torch.cat([network.frames(video[None]) for video in VIDEO])
    assert close(alone, VARIANTS["t_adapter/frame_emb_one_video_at_a_time"])
    told = golden.facts("variants")["info"]["t_adapter_batch_mixing_max_abs"]
    batched = VARIANTS["t_adapter/frame_emb_batched_as_reference"]
    assert (alone - batched).abs().max().item() == pytest.approx(told, abs=1e-5)
