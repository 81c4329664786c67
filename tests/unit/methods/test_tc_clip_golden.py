"""TC-CLIP equals the reference: indices exactly, numbers within the stated tolerances."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.unit.methods import golden
from vlar.methods.tc_clip.adapter import TcClip, parameter_groups
from vlar.methods.tc_clip.checkpoint import split
from vlar.methods.tc_clip.network import merge, merge_schedule
from vlar.training.trainable import TrainingBatch

A = golden.tensors("a")
FACTS = golden.facts("a")


def ids() -> Tensor:
    return A["in.tokenized_prompts"].long()


@pytest.fixture(scope="module")
def recorded(adapter: TcClip) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        adapter.network.encode(A["in.frames"], record=found.__setitem__)
    return found


@pytest.mark.parametrize("block", range(4))
def test_every_block_picks_and_merges_as_the_reference(
    recorded: dict[str, Tensor], block: int
) -> None:
    def wanted(name: str) -> Tensor:
        return A[f"mid.vision.block{block}.{name}"]

    def got(name: str) -> Tensor:
        return recorded[f"block{block}.{name}"]

    assert torch.equal(got("seed_index").view(2, 4, -1), wanted("seed_index").long())
    assert torch.equal(got("context_size"), wanted("context_size"))
    assert torch.allclose(got("cls_attn").view(2, 4, -1), wanted("cls_attn"), rtol=0, atol=1e-5)
    assert torch.allclose(got("context_pre_ffn"), wanted("context_pre_ffn"), rtol=0, atol=1e-4)
    assert torch.allclose(
        got("attn_out").flatten(0, 1).view(2, 68, 64), wanted("attn_out"), atol=1e-4
    )
    out = torch.cat([got("out").reshape(2, -1, 64), got("context_out")], dim=1)
    assert torch.allclose(out, wanted("out"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("block", range(4))
def test_context_tokens_come_from_the_same_patches(recorded: dict[str, Tensor], block: int) -> None:
    source = torch.zeros(2, 8, 64)
    patches = recorded[f"block{block}.seed_index"].view(2, 4, -1)
    patches = (patches + 16 * torch.arange(4)[:, None]).flatten(1)
    group = recorded[f"block{block}.context_group"]
    for video in range(2):
        source[video, group[video], patches[video]] = 1
    assert torch.equal(source, A[f"mid.vision.block{block}.context_source"])


def test_features_and_logits(adapter: TcClip) -> None:
    network = adapter.network
    with torch.no_grad():
        seen = network.encode(A["in.frames"])
        names = network.conditioned(network.classes(ids()), seen.context)
        logits = network.logits(A["in.frames"], ids())
    close = {"rtol": 0, "atol": 2e-5}
    assert torch.allclose(seen.frames, A["mid.vision.cls_features"][:, 0], **close)
    assert torch.allclose(seen.context[3], A["mid.vision.context_features"][:, 0], **close)
    assert torch.allclose(names, A["out.text_features_raw"], **close)
    assert torch.allclose(logits, A["out.logits"], rtol=0, atol=1e-4)


def test_trimming_the_last_block_changes_nothing(adapter: TcClip) -> None:
    with torch.no_grad():
        full = adapter.network.encode(A["in.frames"], record=lambda name, tensor: None)
        trimmed = adapter.network.encode(A["in.frames"])
        index = adapter.network.encode(A["in.frames"], context=False)
    assert torch.allclose(full.frames, trimmed.frames, rtol=0, atol=3e-6)
    assert torch.allclose(full.context[3], trimmed.context[3], rtol=0, atol=3e-6)
    assert torch.equal(index.frames, trimmed.frames)
    assert not index.context


def test_prompts_and_text_blocks(adapter: TcClip) -> None:
    found: dict[str, Tensor] = {}
    assert torch.equal(adapter.token_ids(FACTS["config"]["classnames"])[:, :20], ids())
    with torch.no_grad():
        classes = adapter.network.classes(ids(), found.__setitem__)
        context = {3: A["mid.vision.context_features"][:, 0]}
        adapter.network.conditioned(classes, context, found.__setitem__)
    for block in range(3):
        wanted = A[f"mid.text.block{block}.out.video0"]
        suffix = found[f"block{block}.suffix"][0]
        assert torch.allclose(found[f"block{block}.prefix"][0], wanted[0, :5], atol=1e-4)
        assert torch.allclose(suffix, wanted[:, 5 : 5 + suffix.shape[1]], rtol=0, atol=1e-4)
    prompts = A["mid.text.vp0.out"]
    assert torch.allclose(prompts, prompts[:, :1].expand_as(prompts), atol=1e-5)  # the shortcut
    assert torch.allclose(found["prompting3"], prompts[:, 0], rtol=0, atol=2e-5)


def test_without_context_keys_it_is_clip_frame_by_frame(adapter: TcClip) -> None:
    clip = adapter.encoder.towers.model
    with torch.no_grad():
        plain = clip.encode_image(A["in.frames"].flatten(0, 1)).view(2, 4, -1).mean(dim=1)
        ours = adapter.encoder.towers.image(A["in.frames"].flatten(0, 1)).view(2, 4, -1).mean(1)
    wanted = A["mid.vision.framewise_features_no_context"]  # of unit length
    for mean in (plain, ours):
        unit = torch.nn.functional.normalize(mean, dim=-1)
        assert torch.allclose(unit, wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("case", range(4))
def test_merging_alone(case: int) -> None:
    told = golden.facts("merge")["cases"][case]
    data = golden.tensors("merge")
    merged = merge(data[f"case{case}.tokens"], told["k"], told["r"])
    assert merge_schedule(told["n"], told["k"], told["r"]) == told["schedule"]
    assert torch.equal(merged.group, data[f"case{case}.group"].long())
    assert torch.equal(merged.sizes, data[f"case{case}.size"])
    assert torch.allclose(merged.tokens, data[f"case{case}.merged"], rtol=0, atol=1e-5)


@pytest.fixture
def tuned(adapter: TcClip) -> TcClip:
    """The golden model on a copy of its towers that may be trained."""
    twin = TcClip.attach(adapter.encoder, {**adapter.settings, "tune_towers": True})
    twin.network.parts.load_state_dict(adapter.network.parts.state_dict())
    return twin


def test_loss_and_gradients(tuned: TcClip) -> None:
    path = golden.shared_file("grad_a.safetensors")
    data = load_file(path) if path else golden.tensors("grad_a")
    named = dict(tuned.trainable())
    batch = TrainingBatch(data["in.mixed_frames"], data["in.targets"])
    loss = tuned.training_step(batch, ids()).losses["total"]
    loss.backward()
    assert loss.item() == pytest.approx(golden.facts("grad_a")["loss"], abs=1e-5)
    wanted = {name[5:]: grad for name, grad in data.items() if name.startswith("grad.")}
    checked = 0
    for name, told in FACTS["mapping"].items():
        if name not in wanted:
            continue
        grad = named[_ours(name, told)].grad
        assert grad is not None, name
        if told["rows"]:
            grad = grad[slice(*told["rows"])]
        limit = 2e-4 * wanted[name].abs().max() + 1e-6
        assert (grad - wanted[name]).abs().max() <= limit, name
        checked += 1
    assert checked == (143 if path else 124)


def test_one_optimiser_step(tuned: TcClip) -> None:
    data, told = golden.tensors("grad_a"), golden.facts("grad_a")["optimizer"]
    named = dict(tuned.trainable())
    optimiser = torch.optim.AdamW(
        parameter_groups(named.items(), told["lr_base"], told["weight_decay"]),
        betas=tuple(told["betas"]),
        eps=told["eps"],
    )
    counts = [sum(p.numel() for p in group["params"]) for group in optimiser.param_groups]
    # The reference keeps the token embedding as constants too; the counts are its own.
    assert counts == [372765, 192 + 28368]
    logits = tuned.network.logits(data["in.mixed_frames"], ids())
    (-(data["in.targets"] * logits.log_softmax(dim=-1)).sum(dim=-1).mean()).backward()
    optimiser.step()
    steps = {name[11:]: value for name, value in data.items() if name.startswith("after_step.")}
    assert len(steps) == 10
    for name, value in steps.items():
        told_name = FACTS["mapping"][name]
        now = named[_ours(name, told_name)]
        grad = now.grad
        assert grad is not None
        if told_name["rows"]:
            now, grad = now[slice(*told_name["rows"])], grad[slice(*told_name["rows"])]
        sure = grad.abs() > 1e-5  # Adam's first step is the sign of the gradient
        assert torch.allclose(now[sure], value[sure], rtol=0, atol=1e-4), name


def _ours(name: str, told: dict[str, object]) -> str:
    if told["open_clip"]:
        return str(told["open_clip"])
    _, own = split({name: torch.empty(0)}, (3,))
    return next(iter(own))
