"""Checkpoints in the original's layout: data is read, nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.refusals import refused
from tests.unit.methods import golden_ez as golden
from vlar.adapters.base import load_adapter
from vlar.errors import ModelError, UnknownNameError
from vlar.methods.ez_clip.adapter import EzClip
from vlar.methods.ez_clip.checkpoint import read, split

A = golden.tensors("golden_a")
VARIANTS = golden.tensors("variants")
STATE = golden.real_vocabulary(golden.original_state())
PROMPTS = "visual.transformer.T_prompt_embeddings"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.save_base(tmp_path_factory.mktemp("base"))


def loaded(path: Path, state: dict[str, Tensor], base: Path, more: str = "") -> EzClip:
    torch.save({"model": state}, path)
    adapter = load_adapter(f"ez-clip:{path}?base=openclip:{base}{more}")
    assert isinstance(adapter, EzClip)
    return adapter


def close(adapter: EzClip, wanted: Tensor) -> None:
    with torch.no_grad():
        found = torch.cat([adapter.network.frames(video[None]) for video in A["input/video"]])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_checkpoint_gives_the_reference_s_vectors(tmp_path: Path, base: Path) -> None:
    adapter = loaded(tmp_path / "best.pt", STATE, base)
    config = adapter.config
    assert (config.prompts, config.n_frames) == ("deep", 4)
    assert (config.visual_hidden, config.text_hidden) == (16, 12)
    assert not config.time_adapters
    assert not config.temporal_embedding
    close(adapter, A["out/frame_emb"])
    scale = float(STATE["logit_scale"].exp())
    assert adapter.encoder.logit_scale == pytest.approx(scale)  # type: ignore[attr-defined]
    assert adapter.logit_scale == 100
    assert "best.pt" in adapter.licence
    rows = adapter.encode_text(["cat", "dog"])
    assert np.abs(rows - adapter.encoder.encode_text(["cat", "dog"])).max() > 1e-3


@pytest.mark.parametrize("entry", ["", "state_dict", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.module."])
def test_wherever_the_tensors_are(tmp_path: Path, entry: str, prefix: str) -> None:
    state: dict[str, Any] = {prefix + name: t.half() for name, t in STATE.items()}
    whole = {"epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}, entry: state}
    torch.save(whole if entry else state, tmp_path / "best.pt")
    tensors = read(tmp_path / "best.pt")
    assert set(tensors) == set(STATE)
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "best.safetensors")
    assert set(read(tmp_path / "best.safetensors")) == set(STATE)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match=r"bad\.safetensors is not a readable checkpoint"):
        read(tmp_path / "bad.safetensors")


def test_variants_are_told_by_names_and_shapes(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "variant.pt"
    shallow = loaded(path, {**STATE, PROMPTS: STATE[PROMPTS][:1]}, base)
    assert shallow.config.prompts == "shallow"
    close(shallow, VARIANTS["shallow/frame_emb"])
    close(loaded(path, STATE, base, "&prompts=shallow"), VARIANTS["shallow/frame_emb"])

    without = {name: t for name, t in STATE.items() if name != PROMPTS}
    bare = loaded(path, without, base)
    assert bare.config.prompts == "none"
    close(bare, VARIANTS["adapters_only/frame_emb"])

    time = loaded(path, {**without, **golden.time_state()}, base)
    assert time.config.time_adapters
    close(time, VARIANTS["t_adapter/frame_emb_one_video_at_a_time"])

    moments = {"visual.temporal_embedding": VARIANTS["temporal_embedding/value"]}
    placed = loaded(path, {**STATE, **moments}, base)
    assert placed.config.temporal_embedding
    close(placed, VARIANTS["temporal_embedding/frame_emb"])


def test_prompts_in_the_file_that_were_not_used(tmp_path: Path, base: Path) -> None:
    both = {**STATE, **golden.time_state()}
    adapter = loaded(tmp_path / "both.pt", both, base, "&prompts=none&templates=video")
    assert "temporal_prompts" not in adapter.state_dict()
    assert adapter.templates == "video"
    close(adapter, VARIANTS["t_adapter/frame_emb_one_video_at_a_time"])


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("archive", [True, False])
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path, archive: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "bad.pt"
    stored = {"model": STATE, "config": Hostile(marker)}
    torch.save(stored, path, _use_new_zipfile_serialization=archive)
    refused(ModelError, "refused and nothing in it was run: it wants to call", read, path)
    assert not marker.exists()


def test_wrong_files(tmp_path: Path, base: Path) -> None:
    refused(ModelError, "no checkpoint at", load_adapter, f"ez-clip:{tmp_path}/none.pt")
    towers, _ = split(STATE)
    torch.save(towers, tmp_path / "clip.pt")
    refused(ModelError, r"is not an EZ-CLIP checkpoint.*openclip:FILE", read, tmp_path / "clip.pt")
    torch.save({"model": STATE}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match="ViT of width 64 with 16 pixel patches"):
        load_adapter(f"ez-clip:{tmp_path}/best.pt")
    with pytest.raises(ModelError, match=r"lacks 'visual\.proj'"):
        loaded(tmp_path / "less.pt", _without(STATE, "visual.proj"), base)
    with pytest.raises(ModelError, match=r"besides a CLIP and EZ-CLIP's parts.*'extra'"):
        loaded(tmp_path / "more.pt", {**STATE, "extra": torch.ones(2)}, base)
    one = "visual.transformer.resblocks.1.Adapter.D_fc2.bias"
    with pytest.raises(ModelError, match=r"lacks 'visual_adapters\.1\.up\.bias'"):
        loaded(tmp_path / "part.pt", _without(STATE, one), base)
    over = {**STATE, one.replace("resblocks.1", "resblocks.9"): STATE[one]}
    with pytest.raises(ModelError, match=r"visual_adapters\.9\.up\.bias"):
        loaded(tmp_path / "over.pt", over, base)
    with pytest.raises(ModelError, match=r"prompts is 'wide'"):
        loaded(tmp_path / "best.pt", STATE, base, "&prompts=wide")
    with pytest.raises(UnknownNameError, match="did you mean 'prompts'"):
        loaded(tmp_path / "best.pt", STATE, base, "&promts=none")


def _without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: t for key, t in state.items() if key != name}


def test_openai_s_shape_needs_no_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All weights are in the file, so nothing is fetched: only the architecture is looked up."""
    asked: list[str] = []

    def refuse(spec: str) -> Any:
        asked.append(spec)
        raise ModelError("enough")

    monkeypatch.setattr("vlar.methods.ez_clip.checkpoint.open_base", refuse)
    torch.save({**STATE, "visual.conv1.weight": torch.zeros(768, 3, 16, 16)}, tmp_path / "b.pt")
    refused(ModelError, "enough", load_adapter, f"ez-clip:{tmp_path}/b.pt")
    assert asked == ["openclip:ViT-B-16-quickgelu?random_init=true"]
