"""Checkpoints in the original's layout: data is read, nothing is run."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.refusals import refused
from tests.unit.methods import golden
from vlar.adapters.base import load_adapter
from vlar.encoders.base import load_encoder
from vlar.encoders.torch_encoder import TorchEncoder
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.methods.tc_clip.checkpoint import read, split

A = golden.tensors("a")
VALUES = {
    "seed_token_a": 0.45, "context_token_k": 8, "tome_r": 6, "im_stop_grad": True,
    "context_length": 20, "num_frames": 4, "vp_layer": "12", "lr": 8e-6,
}  # fmt: skip


class Node:
    """As OmegaConf's nodes: a slot-less object with a state dict."""

    def __init__(self, value: Any, parent: Any = None) -> None:
        self.__dict__.update(_val=value, _parent=parent, _flags_cache=None)


class DictConfig:
    """As OmegaConf's container: children in ``_content``, each linked to its parent."""

    def __init__(self, values: dict[str, Any]) -> None:
        children = {name: Node(value, self) for name, value in values.items()}
        children["list"] = Node([1, None, {"deep": 2}], self)
        self.__dict__.update(_content=children, _parent=None, _metadata={"ref_type": Any})


@pytest.fixture
def omegaconf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of that name while a file is written; gone when it is read."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "omegaconf"]:
        monkeypatch.delitem(sys.modules, name)  # the reader of text on screen brings it
    module = types.ModuleType("omegaconf.dictconfig")
    for kind in (Node, DictConfig):
        monkeypatch.setattr(kind, "__module__", "omegaconf.dictconfig")
        setattr(module, kind.__name__, kind)

    def save(path: Path, **more: Any) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
            patch.setitem(sys.modules, "omegaconf.dictconfig", module)
            return golden.save_checkpoint(path, **more)

    return save


def test_logits_through_a_checkpoint_with_a_pickled_configuration(
    omegaconf: Any, tmp_path: Path, base: Path
) -> None:
    path = omegaconf(tmp_path / "best.pth", config=DictConfig(VALUES))
    assert "omegaconf" not in sys.modules
    adapter = load_adapter(f"tc-clip:{path}?base=openclip:{base}")  # settings are in the file
    config = adapter.settings
    assert (config["seed_fraction"], config["context_tokens"], config["merge_step"]) == (0.45, 8, 6)
    assert (config["max_tokens"], config["n_frames"]) == (20, 4)
    with torch.no_grad():
        ids = adapter.token_ids(golden.facts("a")["config"]["classnames"])
        logits = adapter.network.logits(A["in.frames"], ids)
    assert torch.allclose(logits, A["out.logits"], rtol=0, atol=1e-4)
    assert adapter.logit_scale == pytest.approx(float(A["weights.logit_scale"].exp()), rel=1e-6)


def test_tensors_of_a_bare_state_dict_and_of_safetensors(tmp_path: Path) -> None:
    torch.save(golden.original_state(), tmp_path / "bare.pth")
    save_file(golden.original_state(), tmp_path / "bare.safetensors")
    for name in ("bare.pth", "bare.safetensors"):
        tensors, found = read(tmp_path / name)
        assert len(tensors) == 143
        assert not found


def test_half_precision_is_brought_to_float32(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in golden.original_state().items()}
    torch.save({"model": half}, tmp_path / "half.pth")
    tensors, _ = read(tmp_path / "half.pth")
    assert {value.dtype for value in tensors.values()} == {torch.float32}


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("place", ["config", "model", "optimizer"])
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    tmp_path: Path, place: str, archive: bool
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "bad.pth"
    model = {f"module.{name}": value for name, value in golden.original_state().items()}
    stored = {"model": model, place: Hostile(marker)}
    torch.save(stored, path, _use_new_zipfile_serialization=archive)
    refused(ModelError, r"refused and nothing in it was run: it wants to call", read, path)
    assert not marker.exists()


def test_a_hostile_name_beside_harmless_ones_is_still_refused(
    omegaconf: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    config = DictConfig({**VALUES, "x": Hostile(marker)})
    path = omegaconf(tmp_path / "bad.pth", config=config)
    refused(ModelError, r"wants to call builtins\.exec", read, path)
    assert not marker.exists()


def test_a_harmless_name_cannot_smuggle_a_call(tmp_path: Path) -> None:
    """numpy's names are let through as shells: even its dangerous ones then do nothing."""
    import pickle
    import zipfile

    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            import numpy

            return numpy.fromfile, (str(tmp_path / "secret"),)

    (tmp_path / "secret").write_bytes(b"12345678" * 4)
    path = tmp_path / "numpy.pth"
    torch.save({"model": golden.original_state(), "max_accuracy": Call()}, path)
    assert zipfile.is_zipfile(path)
    assert pickle  # the file is a pickle; reading it must not read the other file
    tensors, _ = read(path)
    assert len(tensors) == 143


@pytest.mark.parametrize("content", [b"", b"hello world" * 20, b"PK\x03\x04" + b"x" * 200])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    refused(ModelError, r"damaged\.pth", read, path)


def test_a_cut_file(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    refused(ModelError, r"cut\.pth", read, path)


def test_wrong_files(tmp_path: Path, base: Path) -> None:
    refused(ModelError, "no checkpoint at", read, tmp_path / "none.pth")
    torch.save({"visual.proj": torch.ones(2)}, tmp_path / "clip.pth")
    refused(ModelError, r"no 'prompt_learner\.ctx'.*openclip:FILE", read, tmp_path / "clip.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    refused(ModelError, "holds a list", read, tmp_path / "list.pth")


def test_a_base_that_does_not_fit(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ViT of width 64 with 16 pixel patches"):
        load_adapter(f"tc-clip:{checkpoint}")
    state = golden.original_state()
    del state["image_encoder.ln_post.bias"]
    torch.save({"model": state}, tmp_path / "less.pth")
    with pytest.raises(ModelError, match=r"lacks 'visual\.ln_post\.bias'"):
        load_adapter(f"tc-clip:{tmp_path}/less.pth?base=openclip:{base}")
    state = {**golden.original_state(), "image_encoder.extra": torch.ones(2)}
    torch.save({"model": state}, tmp_path / "more.pth")
    with pytest.raises(ModelError, match=r"besides a CLIP.*'visual\.extra'"):
        load_adapter(f"tc-clip:{tmp_path}/more.pth?base=openclip:{base}")
    state = {**golden.original_state(), "image_encoder.proj": torch.ones(3, 3)}
    torch.save({"model": state}, tmp_path / "shape.pth")
    with pytest.raises(ModelError, match=r"'visual\.proj' of .* is \(3, 3\)"):
        load_adapter(f"tc-clip:{tmp_path}/shape.pth?base=openclip:{base}")


def test_own_weights_missing_or_left_over_are_refused(base: Path, tmp_path: Path) -> None:
    prompting = "text_encoder.prompt_generation_layer.0."
    for change, told in (
        ({prompting + "norm_9.weight": torch.ones(2)}, "norm_9.weight"),
        ({prompting + "attn.in_proj_weight": None}, "in_proj_weight"),
    ):
        state = {**golden.original_state(), **change}
        torch.save({"model": {n: t for n, t in state.items() if t is not None}}, tmp_path / "x.pth")
        with pytest.raises(ModelError, match=told) as caught:
            load_adapter(f"tc-clip:{tmp_path}/x.pth?base=openclip:{base}")
        assert "\n" not in caught.value.message


def test_two_prompting_layers_must_say_where(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    state = golden.original_state()
    first = "text_encoder.prompt_generation_layer.0."
    state |= {n.replace("layer.0.", "layer.1."): v for n, v in state.items() if n.startswith(first)}
    torch.save({"model": state}, tmp_path / "two.pth")
    spec = f"tc-clip:{tmp_path}/two.pth?base=openclip:{base}"
    refused(ModelError, "2 prompting layers and does not say where", load_adapter, spec)
    adapter = load_adapter(f"{spec}&prompt_levels=2,4")
    assert sorted(adapter.network.parts.prompting) == ["1", "3"]
    _, own = split(state, (1, 3))
    assert torch.equal(
        torch.as_tensor(adapter.state_dict()["prompting.1.attn.in_proj_weight"]),
        own["prompting.1.attn.in_proj_weight"],
    )


@pytest.mark.parametrize("weight", [0.7, 0.25])
def test_weight_space_ensembling(checkpoint: Path, base: Path, weight: float) -> None:
    plain = load_encoder(f"openclip:{base}")
    assert isinstance(plain, TorchEncoder)
    before = dict(plain.towers.model.named_parameters())
    mixed = load_adapter(f"tc-clip:{checkpoint}?base=openclip:{base}&ensemble={weight}")
    after = dict(mixed.encoder.towers.model.named_parameters())
    fine, own = split(golden.original_state(), (3,))
    for name, tensor in fine.items():
        wanted = (1 - weight) * before[name] + weight * tensor
        assert torch.allclose(after[name], wanted, atol=1e-6), name
    assert torch.equal(after["token_embedding.weight"], before["token_embedding.weight"])
    for name, tensor in own.items():
        assert torch.equal(torch.as_tensor(mixed.state_dict()[name]), tensor), name


def test_weights_0_and_1_are_the_fine_tuned_model(checkpoint: Path, base: Path) -> None:
    spec = f"tc-clip:{checkpoint}?base=openclip:{base}"
    prints = {load_adapter(f"{spec}{more}").fingerprint
              for more in ("", "&ensemble=0", "&ensemble=1")}  # fmt: skip
    assert len(prints) == 1
    assert load_adapter(f"{spec}&ensemble=0.7").fingerprint not in prints


def test_wrong_options(checkpoint: Path, base: Path) -> None:
    spec = f"tc-clip:{checkpoint}?base=openclip:{base}"
    refused(ModelError, "between 0 and 1", load_adapter, f"{spec}&ensemble=7")
    with pytest.raises(UsageError, match="merge_step='x' must be a whole number"):
        load_adapter(f"{spec}&merge_step=x")
    refused(UnknownNameError, "did you mean 'ensemble'", load_adapter, f"{spec}&ensembel=0.5")
