"""TC-CLIP's rules beyond the golden shape: any size, ties, batches, number types, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP
from torch import Tensor

from benchmarks import tc_clip_plain as plain
from tests.clips import clips_of, contexts_of, features_of, vectors_of
from tests.refusals import refused
from tests.unit.methods import golden
from vlar import registry
from vlar.adapters.base import conditions_text, load_adapter
from vlar.adapters.views import require_blocks
from vlar.encoders.base import Encoder, load_encoder
from vlar.encoders.clip import openclip_loader
from vlar.encoders.clip.towers import weights_hash
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.tc_clip.adapter import TcClip, phrase, prompt
from vlar.methods.tc_clip.network import (
    TcClipConfig,
    TcClipNetwork,
    build,
    merge,
    merge_schedule,
    n_seeds,
    pick_seeds,
)

NAMES = golden.facts("a")["config"]["classnames"]


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 5, 70, 90, 3), dtype=np.uint8)


def small(
    size: int, depth: int, text_depth: int, config: TcClipConfig, *, joint: int = 24, seed: int = 0
) -> tuple[Any, TcClipNetwork]:
    """A random CLIP of a given image size and depth with a TC-CLIP whose parts are not small."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = CLIP(
            joint,
            {"image_size": size, "patch_size": 8, "width": 32, "head_width": 16, "layers": depth},
            {"context_length": 24, "vocab_size": 49408, "width": 24, "heads": 2,
             "layers": text_depth},
            quick_gelu=True,
        ).eval().requires_grad_(False)  # fmt: skip
        vision, text = openclip_loader.vision_view(clip), openclip_loader.text_view(clip)
        network = build(
            vision, text, config, joint, [320, 1125, 539, 320], lambda: clip.logit_scale
        )
        for table in network.parts.bias_tables.values():
            torch.nn.init.normal_(table, std=0.7)
    network.parts.requires_grad_(False)
    return clip, network


def tokens(labels: list[str], config: TcClipConfig) -> Tensor:
    from open_clip import SimpleTokenizer

    return SimpleTokenizer(context_length=24)([prompt(label, config) for label in labels])


@pytest.mark.parametrize(
    ("size", "depth", "text_depth", "n_frames", "more"),
    [
        (32, 3, 3, 4, {}),
        (40, 2, 4, 1, {"prompt_levels": (2,)}),  # one frame: nothing to merge
        (56, 4, 4, 3, {"prompt_levels": (2, 4), "seed_fraction": 0.5}),
        (32, 5, 3, 7, {"prompt_levels": (1, 2, 3), "n_prompts": 6}),
        (48, 3, 3, 2, {"n_prompts": 2, "context_tokens": 5, "merge_step": 2}),
        (32, 3, 3, 4, {"joint": 40}),  # widths differ: prompting cannot be a copy
    ],
)
def test_any_shape_equals_the_formulas_without_shortcuts(
    size: int, depth: int, text_depth: int, n_frames: int, more: dict[str, Any]
) -> None:
    joint = more.get("joint", 24)
    options = {name: value for name, value in more.items() if name != "joint"}
    config = TcClipConfig(**{"context_tokens": 6, "merge_step": 3, **options})
    clip, network = small(size, depth, text_depth, config, joint=joint)
    ids = tokens(["a", "playing_guitar", "ApplyEyeMakeup", "opening the door slowly"], config)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        videos = torch.randn(2, n_frames, 3, size, size)
        wanted = plain.logits(clip, network.parts, config, videos, ids)
        np.testing.assert_allclose(network.logits(videos, ids), wanted, rtol=0, atol=2e-5)


def test_gradients_equal_those_without_shortcuts() -> None:
    """With two levels and the gradient let through, so that every path carries some."""
    config = TcClipConfig(context_tokens=6, merge_step=3, prompt_levels=(2, 3), stop_gradient=False)
    clip, network = small(32, 3, 3, config)
    for module in (clip, network.parts):
        module.requires_grad_(True)
    ids = tokens(["a", "playing_guitar", "ApplyEyeMakeup"], config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        videos = torch.randn(2, 3, 3, 32, 32)
    named = [*clip.named_parameters(), *network.parts.named_parameters()]
    named = [(name, p) for name, p in named if name != "token_embedding.weight"]
    parameters = [p for _, p in named]
    target = torch.tensor([0, 2])

    def grads(logits: Tensor) -> list[Tensor]:
        loss = torch.nn.functional.cross_entropy(logits, target)
        return list(torch.autograd.grad(loss, parameters, allow_unused=True))

    ours = grads(network.logits(videos, ids))
    wanted = grads(plain.logits(clip, network.parts, config, videos, ids))
    for (name, _), got, right in zip(named, ours, wanted, strict=True):
        assert got is not None, name
        assert right is not None, name
        assert (got - right).abs().max() <= 2e-4 * right.abs().max() + 1e-6, name


@given(
    n=st.integers(1, 40), target=st.integers(1, 20), step=st.integers(1, 9), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_merging_keeps_every_token_once(n: int, target: int, step: int, seed: int) -> None:
    values = torch.randn(2, n, 5, generator=torch.Generator().manual_seed(seed))
    merged = merge(values, target, step)
    k = min(n, target)
    assert n - sum(merge_schedule(n, target, step)) == k
    assert merged.tokens.shape == (2, k, 5)
    assert torch.equal(merged.sizes.sum(dim=1), torch.full((2,), float(n)))
    for video in range(2):
        for token in range(k):
            members = values[video, merged.group[video] == token]
            assert len(members) == merged.sizes[video, token]
            assert torch.allclose(members.mean(dim=0), merged.tokens[video, token], atol=1e-5)
        alone = merge(values[video : video + 1], target, step)
        assert torch.equal(alone.group[0], merged.group[video])


def test_ties_go_to_the_earlier_token() -> None:
    attention = torch.tensor([[0.5, 0.9, 0.5, 0.9, 0.5]])
    assert pick_seeds(attention, 4).tolist() == [[1, 3, 0, 2]]
    same = torch.ones(1, 8, 3)
    # Four even tokens, all equally near to all odd ones: the first two go to the first odd one.
    assert merge(same, 6, 2).group.tolist() == [[2, 2, 2, 3, 0, 4, 1, 5]]


def test_zero_vectors_and_one_seed() -> None:
    merged = merge(torch.zeros(1, 9, 4), 2, 3)
    assert torch.isfinite(merged.tokens).all()
    assert n_seeds(4, 0.01) == 1
    assert n_seeds(196, 0.3) == 58


def test_a_still_video_is_deterministic(adapter: TcClip) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (1, 1, 64, 64, 3), dtype=np.uint8)
    still = np.repeat(frame, 4, axis=1)
    np.testing.assert_array_equal(contexts_of(adapter, still), contexts_of(adapter, still))


def test_a_video_is_the_same_alone_and_in_a_batch(adapter: TcClip, frames: np.ndarray) -> None:
    together = adapter.encode(clips_of(frames))
    for i in range(len(frames)):
        alone = adapter.encode(clips_of(frames[i : i + 1]))[0]
        np.testing.assert_array_equal(alone.features, together[i].features)
        np.testing.assert_array_equal(alone.vector, together[i].vector)
        np.testing.assert_array_equal(alone.context, together[i].context)
    context = contexts_of(adapter, frames)
    words = adapter.conditioned_text(NAMES, context)
    alone_words = adapter.conditioned_text(NAMES, context[1:2])
    np.testing.assert_allclose(alone_words[0], words[1], atol=1e-6)


def test_one_batch_through_the_network_does_not_mix_videos(adapter: TcClip) -> None:
    videos = golden.tensors("a")["in.frames"]
    with torch.no_grad():
        both = adapter.network.encode(videos)
        swapped = adapter.network.encode(videos.flip(0))
    assert torch.allclose(both.frames, swapped.frames.flip(0), atol=1e-6)
    assert torch.allclose(both.context[3], swapped.context[3].flip(0), atol=1e-6)


def test_the_context_and_the_order_of_frames_matter(adapter: TcClip, frames: np.ndarray) -> None:
    video = vectors_of(adapter, frames)
    assert np.abs(video - vectors_of(adapter.encoder, frames)).max() > 0.01
    assert np.abs(video - vectors_of(adapter, frames[:, ::-1].copy())).max() > 1e-3


def test_selection_under_bfloat16_autocast(adapter: TcClip) -> None:
    """Seeds are picked and merged in float32 from a float32 stream; features stay close."""
    videos = golden.tensors("a")["in.frames"]
    found: dict[str, Tensor] = {}
    half: dict[str, Tensor] = {}
    with torch.no_grad():
        exact = adapter.network.encode(videos, record=found.__setitem__)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = adapter.network.encode(videos, record=half.__setitem__)
    assert half["block0.cls_attn"].dtype == torch.float32
    assert half["block0.context_pre_ffn"].dtype == torch.float32
    agree = (found["block0.seed_index"] == half["block0.seed_index"]).float().mean()
    assert agree > 0.98
    cosine = torch.nn.functional.cosine_similarity(exact.frames, rounded.frames.float(), dim=-1)
    assert cosine.min() > 0.97
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids = golden.tensors("a")["in.tokenized_prompts"].long()
        logits = adapter.network.logits(videos, ids)
    assert (logits.float() - golden.tensors("a")["out.logits"]).abs().max() < 0.8


def test_training_under_autocast_gives_finite_gradients(adapter: TcClip) -> None:
    twin = TcClip.attach(adapter.encoder, {**adapter.settings, "tune_towers": True})
    named = twin.trainable()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ids = golden.tensors("a")["in.tokenized_prompts"].long()
        loss = twin.network.logits(golden.tensors("a")["in.frames"], ids).float().logsumexp(1).sum()
    loss.backward()
    grads = {name: p.grad for name, p in named}
    assert all(g is not None and torch.isfinite(g).all() for g in grads.values())
    twin.refresh()


def test_bfloat16_weights(base: Path, frames: np.ndarray) -> None:
    encoder = load_encoder(f"openclip:{base}?precision=bfloat16")
    half = TcClip.attach(encoder, golden.settings())
    words = half.conditioned_text(NAMES, contexts_of(half, frames))
    assert np.isfinite(words).all()
    assert words.dtype == np.float32


def test_the_contract(adapter: TcClip, frames: np.ndarray) -> None:
    assert isinstance(adapter, Encoder)
    assert registry.get("adapter", "tc-clip") is TcClip
    assert conditions_text(adapter) is adapter
    assert conditions_text(adapter.encoder) is None
    features = features_of(adapter, frames)
    assert features.shape == (3, 5, 48)
    np.testing.assert_array_equal(vectors_of(adapter, frames), adapter.pool(features))
    np.testing.assert_allclose(np.linalg.norm(adapter.pool(features), axis=1), 1, atol=1e-6)
    for texts in ([], NAMES):
        assert adapter.encode_text(texts).shape == (len(texts), 48)
        assert adapter.conditioned_text(texts, np.zeros((2, 8, 48), np.float16)).shape == (
            2, len(texts), 48,
        )  # fmt: skip
    assert adapter.count_tokens("cat") == 8  # a photo of a cat . with start and end
    refused(UsageError, "takes video clips", features_of, adapter, frames[:, :0])
    assert adapter.encode([]) == []
    refused(UsageError, "takes video clips", features_of, adapter, frames[0])


def test_class_sets_are_kept_and_forgotten(
    adapter: TcClip, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = contexts_of(adapter, frames)
    calls: list[int] = []
    whole = TcClipNetwork.classes

    def counted(self: TcClipNetwork, ids: Tensor, record: Any = None) -> Any:
        calls.append(len(ids))
        return whole(self, ids, record)

    monkeypatch.setattr(TcClipNetwork, "classes", counted)
    adapter.refresh()
    first = adapter.conditioned_text(NAMES, context)
    again = adapter.conditioned_text(tuple(NAMES), context[:1])
    assert calls == [5]
    np.testing.assert_allclose(again[0], first[0], atol=1e-6)
    adapter.encode_text(NAMES)  # the unconditioned text uses the same set
    assert calls == [5]
    for name in "abcdef":
        adapter.encode_text([name])
    adapter.encode_text(NAMES)
    assert calls == [5, 1, 1, 1, 1, 1, 1, 5]  # the oldest set was dropped


def test_many_classes_are_cut_into_parts(
    adapter: TcClip, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = contexts_of(adapter, frames)
    labels = [f"label {i}" for i in range(11)]
    whole = adapter.conditioned_text(labels, context)
    monkeypatch.setattr("vlar.methods.tc_clip.adapter._CLASSES", 4)
    monkeypatch.setattr("vlar.methods.tc_clip.adapter._PAIRS", 12)
    adapter.refresh()
    np.testing.assert_allclose(adapter.conditioned_text(labels, context), whole, atol=1e-6)
    adapter.refresh()


def test_its_start(base: Path) -> None:
    encoder = load_encoder(f"openclip:{base}")
    before = weights_hash(require_blocks(encoder, "test").towers.model)
    adapter = TcClip.attach(encoder, {"n_prompts": 6})
    text = adapter.encoder.towers.text_view()
    ids = [320, 1125, 539, 320]  # a photo of a
    assert torch.equal(adapter.network.parts.prompts[:4], text.token_embedding.weight[ids])
    assert adapter.network.parts.prompts[4:].std() < 0.05
    layer = adapter.network.parts.prompting["3"]
    weight, _ = text.blocks[3].in_proj(0, 3)
    assert torch.equal(layer.attn.in_proj_weight, weight)
    assert torch.equal(layer.ln_1_kv.weight, text.blocks[3].ln_1.weight)
    for table in adapter.network.parts.tables().values():
        assert table.abs().max() < 0.1
    adapter.encode_text(["cat"])
    assert weights_hash(adapter.encoder.towers.model) == before


def test_own_state_only_and_back(adapter: TcClip, base: Path) -> None:
    state = adapter.state_dict()
    assert len(state) == 3 + 1 + 14
    other = TcClip.attach(load_encoder(f"openclip:{base}"), adapter.settings)
    assert other.fingerprint != adapter.fingerprint
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.state_dict()["prompts"], state["prompts"])
    with pytest.raises(ModelError, match="lacks 'prompts'"):
        other.load_state_dict({k: v for k, v in state.items() if k != "prompts"})
    refused(ModelError, "no place for 'x'", other.load_state_dict, {**state, "x": state["prompts"]})
    with pytest.raises(ModelError, match=r"'prompts' is \(3, 48\), this one's \(4, 48\)"):
        other.load_state_dict({**state, "prompts": state["prompts"][:3]})


def test_tuned_towers_are_a_copy_that_is_saved(base: Path, frames: np.ndarray) -> None:
    encoder = load_encoder(f"openclip:{base}")
    before = encoder.fingerprint
    tuned = TcClip.attach(encoder, {**golden.settings(), "tune_towers": True})
    named = dict(tuned.trainable())
    assert "token_embedding.weight" not in named
    with torch.no_grad():
        named["visual.proj"].mul_(2)
    tuned.refresh()
    state = tuned.state_dict()
    assert "towers.visual.proj" in state
    again = TcClip.attach(encoder, tuned.settings)
    again.load_state_dict(state)
    # Not bit for bit: matrix products may round by where in memory a weight begins.
    np.testing.assert_allclose(features_of(again, frames), features_of(tuned, frames), atol=1e-5)
    assert weights_hash(require_blocks(encoder, "x").towers.model)
    assert load_encoder(f"openclip:{base}").fingerprint == before


def test_a_wrong_pairing_is_a_clear_error() -> None:
    class Other:
        name = "lite"

    with pytest.raises(ModelError, match=r"needs vit_blocks.*'lite' shows none"):
        TcClip.attach(Other())  # type: ignore[arg-type]


def test_settings() -> None:
    assert TcClipConfig.from_dict(TcClipConfig(prompt_levels=(6, 12)).to_dict()).prompt_levels == (
        6, 12,
    )  # fmt: skip
    with pytest.raises(UnknownNameError, match="did you mean 'merge_step'"):
        TcClipConfig.from_dict({"merge_steps": 3})
    refused(ModelError, "seed_fraction is 0", TcClipConfig, seed_fraction=0)
    refused(ModelError, "levels up to 4", TcClipConfig(prompt_levels=(12,)).levels, 6, 4)


def test_prompts() -> None:
    config = TcClipConfig()
    assert prompt("playing_guitar", config) == "a photo of a playing guitar."
    assert prompt("TaiChi", config) == "a photo of a Tai Chi."
    assert prompt("ABC", config) == "a photo of a A B C."  # as the original does
    assert prompt("a photo of a cat.", config) == "a photo of a cat."
    assert prompt("TV", TcClipConfig(split_capitals=False)) == "a photo of a TV."
    assert phrase(TcClipConfig(n_prompts=2)) == "a photo"


def test_one_door_for_encoders_and_adapters(base: Path) -> None:
    assert load_encoder(f"openclip:{base}").name == f"openclip:{base}"
    refused(ModelError, "no checkpoint at", load_encoder, "tc-clip:none.pth")
    refused(UnknownNameError, r"did you mean 'openclip'.*tc-clip", load_encoder, "openclap:x")


def test_an_adapter_spec_needs_a_file() -> None:
    refused(UsageError, "write tc-clip:FILE", load_adapter, "tc-clip")
    refused(UnknownNameError, "did you mean 'tc-clip'", load_adapter, "tcclip:x.pth")
