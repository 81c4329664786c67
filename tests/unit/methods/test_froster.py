"""FROSTER's rules beyond the golden shape: any size, wrapped students, number types, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP
from torch import Tensor, nn

from benchmarks import froster as plain
from tests.clips import contexts_of, features_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.methods import golden_froster as golden
from vlar import registry
from vlar.adapters.base import conditions_text, load_adapter
from vlar.encoders.base import load_encoder
from vlar.encoders.clip import openclip_loader
from vlar.encoders.clip.towers import weights_hash
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.language.bank import load_bank
from vlar.methods.froster.adapter import (
    Froster,
    FrosterConfig,
    Projector,
    Projectors,
    projected_distance,
)
from vlar.methods.full_finetune.adapter import Tuned
from vlar.methods.full_finetune.blocks import TEMPORAL, TunedConfig, TunedNetwork, make_mixers
from vlar.methods.tc_clip.adapter import TcClip
from vlar.model.core import BACKGROUND_BANK
from vlar.model.model import Model
from vlar.training.clip_adapter import ClassStrings, class_strings
from vlar.training.trainable import TrainingBatch, TrainingOutput

LABELS = ["riding a bike", "Waving: An arm moves from side to side.", "cooking"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("clip")
    config = models.openclip_config(quick_gelu=True)
    config["text_cfg"]["context_length"] = 40
    models.save_openclip(folder, config)
    loaded = load_encoder(f"openclip:{folder}")
    assert isinstance(loaded, TorchEncoder)
    return loaded


@pytest.fixture(scope="module")
def hf(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    folder = tmp_path_factory.mktemp("hf")
    models.save_clip(folder)
    loaded = load_encoder(f"hf:{folder}")
    assert isinstance(loaded, TorchEncoder)
    return loaded


def batch(n: int = 4, t: int = 3) -> TrainingBatch:
    pixels = torch.randn(n, t, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return TrainingBatch(pixels, torch.eye(3)[[i % 3 for i in range(n)]])


def clip(size: int, depth: int, *, quick_gelu: bool = True) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLIP(
            24,
            {"image_size": size, "patch_size": 8, "width": 32, "head_width": 16, "layers": depth},
            {"context_length": 16, "vocab_size": 64, "width": 24, "heads": 2, "layers": 2},
            quick_gelu=quick_gelu,
        ).eval()  # fmt: skip


def network(model: Any, config: TunedConfig) -> TunedNetwork:
    vision, text = openclip_loader.vision_view(model), openclip_loader.text_view(model)
    mixers = make_mixers(config, vision.blocks, vision.width)
    return TunedNetwork(vision, text, mixers, lambda: model.logit_scale)


def student(adapter: Froster) -> Tuned:
    assert isinstance(adapter.student, Tuned)
    return adapter.student


# The student


@pytest.mark.parametrize(
    ("size", "depth", "batch_size", "n_frames", "radius", "quick_gelu"),
    [(32, 3, 2, 4, 1, True), (40, 1, 1, 1, 1, True), (24, 4, 3, 2, 3, False),
     (48, 2, 1, 9, 2, False), (32, 2, 2, 5, 0, True), (32, 2, 1, 3, 5, True)],
)  # fmt: skip
def test_any_shape_equals_the_formulas_read_literally(
    size: int, depth: int, batch_size: int, n_frames: int, radius: int, quick_gelu: bool
) -> None:
    model = clip(size, depth, quick_gelu=quick_gelu)
    ours = network(model, TunedConfig(radius=radius))
    videos = torch.randn(
        batch_size, n_frames, 3, size, size, generator=torch.Generator().manual_seed(1)
    )
    named = [(n, p) for n, p in model.visual.named_parameters()]

    def grads(features: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            (features * features.detach().cos()).sum(), [p for _, p in named]
        )

    wanted = torch.stack([plain.literal(model, video, radius) for video in videos])
    got = ours.frames(videos)
    with torch.no_grad():
        assert torch.allclose(ours.frames(videos), wanted, rtol=0, atol=1e-5)
    for (name, _), mine, right in zip(named, grads(got), grads(wanted), strict=True):
        assert (mine - right).abs().max() <= 1e-4 * right.abs().max() + 1e-6, name


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_who_sees_whom(temporal: str) -> None:
    """A change of the last frame reaches the frames it should, and no other."""
    ours = network(clip(32, 2), TunedConfig(temporal=temporal))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for parameter in ours.mixers.parameters():
            nn.init.normal_(parameter, std=0.3)
        videos = torch.randn(1, 6, 3, 32, 32)
        other = videos.clone()
        other[0, -1] += 1
        moved = (ours.frames(videos) - ours.frames(other)).abs().amax(dim=-1)[0] > 1e-6
    # Two blocks, one step each way; the attention along time and the message reach every frame.
    reach = {"window": 2, "adapter": 0, "aim": 5, "st-adapter": 2, "cross-frame": 5}[temporal]
    assert moved.tolist() == [i >= 5 - reach for i in range(6)]


@pytest.mark.parametrize("temporal", ["adapter", "aim", "st-adapter"])
def test_plug_ins_start_as_the_frame_wise_tower(encoder: TorchEncoder, temporal: str) -> None:
    student = Tuned.attach(encoder, {"temporal": temporal, "tune_towers": False})
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        features_of(student, frames), features_of(encoder, frames), atol=1e-5
    )


@given(t=st.integers(3, 7), radius=st.integers(0, 2))
@settings(max_examples=12, deadline=None)
def test_a_still_clip_changes_only_near_its_ends(t: int, radius: int) -> None:
    """Inside, equal neighbours leave the attention as it is; zeros at the ends damp it."""
    ours = network(clip(16, 1), TunedConfig(radius=radius))
    with torch.no_grad():
        picture = torch.randn(1, 1, 3, 16, 16, generator=torch.Generator().manual_seed(t))
        alone = ours.vision.features(picture[0])
        seen = ours.frames(picture.expand(1, t, 3, 16, 16))[0]
    same = [torch.allclose(frame, alone[0], atol=1e-5) for frame in seen]
    assert same == [radius <= i < t - radius for i in range(t)]


def test_the_student_on_a_transformers_clip(hf: TorchEncoder) -> None:
    """The same weights in open_clip's layout give the same frames."""
    model = clip(32, 3)
    state = model.visual.state_dict()
    tower: Any = hf.towers.model
    renamed = _openclip_names(tower, state)
    with torch.no_grad():
        model.visual.load_state_dict(renamed)
        model.visual.proj = nn.Parameter(tower.visual_projection.weight.t().clone())
        videos = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
        wanted = plain.literal(model, videos[0])
        ours = Tuned.attach(hf, {"tune_towers": False}).network.frames(videos)[0]
    assert torch.allclose(ours, wanted, atol=1e-5)


def _openclip_names(tower: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = tower.vision_model.state_dict()
    names = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm",
        "transformer.resblocks": "encoder.layers", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj", "c_fc": "fc1", "c_proj": "fc2",
    }  # fmt: skip
    renamed: dict[str, Tensor] = {"proj": state["proj"]}
    for name in state:
        target = name
        for ours, other in names.items():
            target = target.replace(ours, other)
        if ".in_proj_" in target:
            start, _, kind = target.replace(".attn.", ".self_attn.").partition("in_proj_")
            renamed[name] = torch.cat([theirs[f"{start}{p}_proj.{kind}"] for p in "qkv"])
        elif name != "proj":
            renamed[name] = theirs[target]
    hidden = {n: t for n, t in renamed.items() if ".mlp." in n}
    # The tiny models differ in the width of their MLPs; both halves are filled, one with zeros.
    for name, tensor in hidden.items():
        filled = torch.zeros_like(state[name])
        filled[tuple(slice(size) for size in tensor.shape)] = tensor
        renamed[name] = filled
    return renamed


# Counts


def test_parameter_counts_at_vit_b_16() -> None:
    with torch.device("meta"):
        model = CLIP(
            512,
            {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12},
            {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
            quick_gelu=True,
        )  # fmt: skip
        projectors = Projectors(512, 0.1)
        view = openclip_loader.vision_view(model)
        added = {kind: make_mixers(TunedConfig(temporal=kind), view.blocks, 768)
                 for kind in TEMPORAL}  # fmt: skip
    count = {kind: sum(p.numel() for p in part.parameters()) for kind, part in added.items()}
    student = sum(p.numel() for p in model.parameters())
    assert student == 149_620_737
    assert student + count["window"] + sum(p.numel() for p in projectors.parameters()) == (
        150_669_313
    )
    assert count == {"window": 0, "adapter": 3_550_464, "aim": 10_651_392, "st-adapter": 7_110_144,
                     "cross-frame": 35_453_952}  # fmt: skip


def test_all_of_the_student_and_the_projectors_are_trained(encoder: TorchEncoder) -> None:
    adapter = Froster.attach(encoder)
    named = dict(adapter.trainable())
    assert set(named) == set(adapter.state_dict())
    model = sum(p.numel() for p in encoder.towers.model.parameters())
    assert sum(p.numel() for p in named.values()) == model + 4 * encoder.dim**2


def test_a_state_that_went_through_a_model_folder(encoder: TorchEncoder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    adapter = Froster.attach(encoder)
    saved = Model(adapter).save(tmp_path / "saved") / "adapter.safetensors"
    state = load_file(saved)
    numbers = [name for name, array in adapter.state_dict().items() if array.ndim == 0]
    assert numbers
    assert all(state[name].ndim == 0 for name in numbers)
    again = Froster.attach(encoder, adapter.settings)
    again.load_state_dict(state)
    assert again.fingerprint == adapter.fingerprint
    state[numbers[0]] = state[numbers[0]].reshape(1)
    refused(ModelError, "it was made with other settings", again.load_state_dict, state)


def test_the_reference_reads_one_string_a_class(encoder: TorchEncoder) -> None:
    texts = ["Waving: An arm moves.", "cooking"]
    adapter = Froster.attach(encoder)
    plain = Froster.attach(encoder, {"student_settings": {"prompts": "plain"}})
    reference = adapter.reference
    np.testing.assert_array_equal(reference.encode_text(texts), plain.encode_text(texts))
    assert reference.fingerprint[:16] != adapter.fingerprint[:16]  # their vectors are kept apart
    assert plain.reference.encode_text(texts) is not None
    assert plain.student.reference is plain.student
    model = Model(adapter)
    bank = load_bank(BACKGROUND_BANK).texts
    np.testing.assert_array_equal(model.words.background[:3], plain.encode_text(bank[:3]))


# Distillation


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_the_start(encoder: TorchEncoder, kind: str) -> None:
    """Same weights, so the texts agree; the frames differ by the neighbours alone."""
    adapter = Froster.attach(encoder, {"distance": kind})
    named = adapter.trainable()
    out = adapter.training_step(batch(), adapter.training_classes(LABELS))
    assert out.losses["distill_text"].item() == pytest.approx(0, abs=1e-5)
    assert out.losses["distill_vision"].item() > 1e-6
    out.losses["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for _, p in named)
    frame_wise = {"distance": kind, "student_settings": {"radius": 0}}
    adapter = Froster.attach(encoder, frame_wise)
    out = adapter.training_step(batch(), adapter.training_classes(LABELS))
    assert out.losses["distill_vision"].item() == pytest.approx(0, abs=1e-5)


def test_the_distances_are_those_of_the_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 8, generator=generator) for _ in range(2))
    teacher = teacher / teacher.norm(dim=-1, keepdim=True)
    projector = Projector(8, 0.3)
    nn.init.normal_(projector.fc2.weight)
    with torch.no_grad():
        unit = student / student.norm(dim=-1, keepdim=True)
        hidden = torch.nn.functional.gelu(unit @ projector.fc1.weight.t())
        projected = unit + 0.3 * hidden @ projector.fc2.weight.t()
        away = ((projected - teacher) ** 2).sum(dim=-1).sqrt().mean()
        cosine = (projected * teacher).sum(dim=-1) / projected.norm(dim=-1)
        assert projected_distance(projector, student, teacher, "l2").item() == pytest.approx(
            away.item()
        )
        assert projected_distance(projector, student, teacher, "cosine").item() == pytest.approx(
            1 - cosine.mean().item(), abs=1e-6
        )


def test_the_weight_and_the_terms(encoder: TorchEncoder) -> None:
    adapter = Froster.attach(encoder, {"weight": 0.5, "student_settings": {"temporal": "aim"}})
    losses = adapter.training_step(batch(), adapter.training_classes(LABELS)).losses
    parts = losses["ce"] + 0.5 * (losses["distill_vision"] + losses["distill_text"])
    assert losses["total"].item() == pytest.approx(parts.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["openclip", "hf"])
def test_training_lowers_the_loss_and_leaves_the_teacher(
    name: str, request: pytest.FixtureRequest
) -> None:
    encoder = request.getfixturevalue("encoder" if name == "openclip" else "hf")
    before = weights_hash(encoder.towers.model)
    adapter = Froster.attach(encoder, {"student_settings": {"prompts": "plain"}})
    with torch.no_grad():  # a scale as after pre-training; a random start has about 1
        student(adapter).inner.towers.model.logit_scale.fill_(3.0)
    optimiser = torch.optim.AdamW([p for _, p in adapter.trainable()], lr=3e-4)
    classes = adapter.training_classes(LABELS)
    kept = classes.teacher.clone()
    totals: list[float] = []
    for _ in range(20):
        loss = adapter.training_step(batch(), classes).losses["total"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        totals.append(loss.item())
    assert totals[-1] < 0.9 * totals[0]
    assert weights_hash(encoder.towers.model) == before
    assert torch.equal(classes.teacher, kept)
    assert torch.equal(adapter.training_classes(LABELS).teacher, kept)
    assert all(p.grad is None for p in encoder.towers.model.parameters())


def test_bfloat16_autocast(encoder: TorchEncoder) -> None:
    adapter = Froster.attach(encoder)
    adapter.trainable()
    classes = adapter.training_classes(LABELS)
    classes = dataclasses.replace(classes, student=classes.student.drawn())
    exact = adapter.training_step(batch(), classes)
    with torch.autocast("cpu", torch.bfloat16):
        rough = adapter.training_step(batch(), classes)
    rough.losses["total"].backward()
    assert all(loss.dtype == torch.float32 for loss in rough.losses.values())
    assert rough.losses["total"].item() == pytest.approx(exact.losses["total"].item(), rel=0.05)


@pytest.mark.parametrize("student", ["tuned", "lora"])
def test_bfloat16_weights(encoder: TorchEncoder, student: str) -> None:
    rough = load_encoder(f"{encoder.name}?precision=bfloat16")
    adapter = Froster.attach(rough, {"student": student, "distance": "l2"})
    named = adapter.trainable()
    out = adapter.training_step(batch(), adapter.training_classes(LABELS))
    out.losses["total"].backward()
    assert all(loss.dtype == torch.float32 for loss in out.losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for _, p in named)


# Students


@pytest.mark.parametrize("towers", ["both", "vision"])
def test_it_wraps_another_adapter(encoder: TorchEncoder, towers: str) -> None:
    settings = {"student": "lora", "student_settings": {"towers": towers, "rank": 2}}
    adapter = Froster.attach(encoder, settings)
    assert adapter.settings["student_settings"]["alpha"] == 16.0
    named = dict(adapter.trainable())
    assert {name.partition(".")[0] for name in named} == {"student", "projectors"}
    out = adapter.training_step(batch(), adapter.training_classes(LABELS))
    for term in ("distill_vision", "distill_text"):  # LoRA starts as the teacher
        assert out.losses[term].item() == pytest.approx(0, abs=1e-5)
    out.losses["total"].backward()
    again = Froster.attach(encoder, adapter.settings)
    again.load_state_dict(adapter.state_dict())
    assert again.fingerprint == adapter.fingerprint


class VideoWords(TcClip):
    """Stands for any student whose text depends on the video and that has losses of its own."""

    reads = "pixels"

    def training_classes(self, labels: Sequence[str]) -> Any:
        return self.token_ids(labels)

    def training_step(self, batch: TrainingBatch, classes: Any) -> TrainingOutput:
        seen = self.network.encode(batch.inputs)
        words = self.network.conditioned(self.network.classes(classes), seen.context)
        logits = self.network.logits(batch.inputs, classes)
        losses = {"total": logits.square().mean(), "own": logits.mean()}
        return TrainingOutput(logits, losses, seen.frames, words)


def test_a_student_whose_text_depends_on_the_video(
    encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlar.training.trainable import Trainable

    part = type("Student", (VideoWords, Trainable), {"trainable": TcClip.trainable})
    real = registry.get

    def get(kind: str, name: str) -> Any:
        return part if name == "video-words" else real(kind, name)

    monkeypatch.setattr(registry, "get", get)
    adapter = Froster.attach(encoder, {"student": "video-words"})
    conditioned = conditions_text(adapter)
    assert conditioned is not None
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 50, 3), dtype=np.uint8)
    context = contexts_of(adapter, frames)
    assert conditioned.conditioned_text(LABELS, context).shape == (2, 3, encoder.dim)
    losses = adapter.training_step(batch(2), adapter.training_classes(LABELS)).losses
    assert {"total", "own", "distill_vision", "distill_text"} == set(losses)
    assert losses["distill_text"].ndim == 0


# Text


def test_class_vectors_are_the_same_in_training_and_after(encoder: TorchEncoder) -> None:
    student = Tuned.attach(encoder)
    with torch.no_grad():
        words = student.network.classes(student.training_classes(LABELS).ids)
    np.testing.assert_allclose(student.encode_text(LABELS), words, atol=1e-5)
    assert student.encode_text([]).shape == (0, encoder.dim)
    alone = student.encode_text(LABELS[1:2])
    np.testing.assert_array_equal(alone[0], student.encode_text(LABELS)[1])


def test_the_drawn_strings() -> None:
    ids = torch.arange(29 * 2 * 3).view(29, 2, 3)
    classes = ClassStrings(ids, every=1)
    torch.manual_seed(5)
    rows = [classes.drawn().rows for _ in range(200)]
    assert {row[-1] for row in rows if row} == {28}
    assert {row[0] for row in rows if row} == set(range(28))
    torch.manual_seed(5)
    assert [classes.drawn().rows for _ in range(200)] == rows
    drawn = classes.drawn()
    assert drawn.drawn() is drawn
    assert torch.equal(drawn.chosen, ids[list(drawn.rows or ())])


def test_strings_of_a_name_without_a_sentence() -> None:
    strings = class_strings("cooking", "froster")
    assert len(strings) == len(set(strings)) == 29
    assert strings[0] == "a photo of cooking. cooking"
    assert strings[-1] == "cooking"
    assert class_strings("cooking", "plain") == ["cooking"]


# Checkpoints


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.save_base(tmp_path_factory.mktemp("base"))


def student_weights(adapter: Any) -> dict[str, Any]:
    start = "student.towers."
    state = adapter.state_dict().items()
    return {n.removeprefix(start): w.copy() for n, w in state if n.startswith(start)}


def test_the_teacher_is_that_of_the_file_or_the_base(base: Path, tmp_path: Path) -> None:
    whole = golden.save_checkpoint(tmp_path / "whole.pyth")
    adapter = load_adapter(f"froster:{whole}?base=openclip:{base}")
    assert adapter.name == f"froster:{whole}?base=openclip:{base}"
    for name, weight in golden.weights("raw_model.").items():
        teacher = adapter.encoder.towers.model.state_dict()
        assert torch.equal(teacher[name.removeprefix("raw_model.")], weight), name
    less = golden.save_checkpoint(tmp_path / "less.pyth", golden.weights("model."))
    alone = load_adapter(f"froster:{less}?base=openclip:{base}")
    assert alone.encoder.fingerprint == load_encoder(f"openclip:{base}").fingerprint
    for name, weight in student_weights(alone).items():
        np.testing.assert_array_equal(weight, golden.weights("model.")[f"model.{name}"])


@pytest.mark.parametrize("entry", ["model", "state_dict", None])
def test_where_a_trainer_put_the_tensors(base: Path, tmp_path: Path, entry: str | None) -> None:
    state = {f"module.{name}": weight for name, weight in golden.weights().items()}
    torch.save({entry: state} if entry else state, tmp_path / "it.pth")
    adapter = load_adapter(f"froster:{tmp_path}/it.pth?base=openclip:{base}")
    np.testing.assert_array_equal(
        adapter.state_dict()["projectors.text.fc1.weight"],
        golden.weights()["projector_t.0.weight"],
    )


def test_safetensors(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(golden.weights(), tmp_path / "it.safetensors")
    load_adapter(f"froster:{tmp_path}/it.safetensors?base=openclip:{base}")
    (tmp_path / "bad.safetensors").write_bytes(b"hello")
    with pytest.raises(ModelError, match=r"bad\.safetensors is not a readable checkpoint"):
        load_adapter(f"froster:{tmp_path}/bad.safetensors?base=openclip:{base}")


def test_weight_space_ensembling(base: Path, tmp_path: Path) -> None:
    path = golden.save_checkpoint(tmp_path / "it.pyth")
    adapter = load_adapter(f"froster:{path}?base=openclip:{base}&ensemble=0.25")
    student, teacher = golden.weights("model."), golden.weights("raw_model.")
    for name, weight in student_weights(adapter).items():
        wanted = 0.25 * student[f"model.{name}"] + 0.75 * teacher[f"raw_model.{name}"]
        np.testing.assert_allclose(weight, wanted, atol=1e-6)


def test_wrong_files_and_options(base: Path, tmp_path: Path) -> None:
    def spec(state: dict[str, Tensor], more: str = "") -> str:
        path = golden.save_checkpoint(tmp_path / "it.pyth", state)
        return f"froster:{path}?base=openclip:{base}{more}"

    state = golden.weights()
    refused(ModelError, "no checkpoint", load_adapter, f"froster:{tmp_path}/none.pyth")
    with pytest.raises(ModelError, match=r"no 'model\.visual\.conv1\.weight'"):
        load_adapter(spec({"visual.proj": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"lacks 'visual\.ln_post\.bias'"):
        load_adapter(spec({n: t for n, t in state.items() if n != "model.visual.ln_post.bias"}))
    with pytest.raises(ModelError, match=r"besides a CLIP.*'visual\.extra'"):
        load_adapter(spec({**state, "model.visual.extra": torch.ones(2)}))
    with pytest.raises(ModelError, match=r"'ln_final\.bias' of .* is \(3,\)"):
        load_adapter(spec({**state, "model.ln_final.bias": torch.ones(3)}))
    plug_in = golden.plug_in("aim")
    plug_in.pop("model.visual.transformer.resblocks.1.s_adapter.adapter.0.bias")
    with pytest.raises(ModelError, match=r"lacks 'student\.mixers\.1\.space\.down\.bias'"):
        load_adapter(spec(state | plug_in))
    over = golden.plug_in("aim")
    over["model.visual.transformer.resblocks.9.s_adapter.adapter.0.bias"] = torch.ones(2)
    with pytest.raises(ModelError, match=r"student\.mixers\.9\.space\.down\.bias"):
        load_adapter(spec(state | over))
    with pytest.raises(ModelError, match="width 64 with 16 pixel patches"):
        load_adapter(spec(state).partition("?")[0])
    refused(ModelError, "between 0 and 1", load_adapter, spec(state, "&ensemble=7"))
    refused(UsageError, "radius='x' must be a whole number", load_adapter, spec(state, "&radius=x"))
    refused(UnknownNameError, "Known: cosine, l2", load_adapter, spec(state, "&distance=l3"))


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_nothing_in_a_file_is_run(base: Path, tmp_path: Path, capsys: Any) -> None:
    path = golden.save_checkpoint(tmp_path / "it.pyth", harm=Harmful())
    with pytest.raises(ModelError, match="nothing in it was run"):
        load_adapter(f"froster:{path}?base=openclip:{base}")
    assert not capsys.readouterr().out


# Settings


def test_wrong_settings(encoder: TorchEncoder) -> None:
    refused(UnknownNameError, "did you mean 'cosine'", FrosterConfig, distance="cosin")
    refused(ModelError, "wrapped around", FrosterConfig, student="froster")
    refused(UnknownNameError, "did you mean 'tuned'", Froster.attach, encoder, {"student": "tuend"})
    with pytest.raises(UnknownNameError, match="did you mean 'st-adapter'"):
        Froster.attach(encoder, {"student_settings": {"temporal": "stadapter"}})
    refused(ModelError, "radius is -1", TunedConfig, radius=-1)
    still = Tuned.attach(encoder, {"tune_towers": False})
    refused(ModelError, "nothing is trained", still.trainable)
