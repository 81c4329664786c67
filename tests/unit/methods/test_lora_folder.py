"""LoRA as a folder of peft: each reads the other's, and vlar what it wrote before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tests import tiny_models
from tests.clips import vectors_of
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.methods.test_lora import TEXTS, batch, frames, shaken
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.files.arrays import sha256
from vlar.methods.lora.adapter import Lora
from vlar.model.model import Model, load

FILES = "adapter_config.json", "adapter_model.safetensors"
MAKERS = {"clip": models.save_clip, "siglip": models.save_siglip}


@pytest.fixture(scope="module", params=list(MAKERS))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    models.save_clip(folder)
    return folder


def library_model(base: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(base).eval()


def features(model: Any, ids: Tensor) -> list[np.ndarray]:
    """Of pictures and texts, by transformers alone."""
    pixels = batch().inputs.flatten(0, 1)
    with torch.no_grad():
        outputs = model.get_image_features(pixel_values=pixels), model.get_text_features(ids)
    return [(o if isinstance(o, Tensor) else o.pooler_output).numpy() for o in outputs]


def own_features(adapter: Lora, ids: Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        towers = adapter.merged.towers
        return [towers.image(batch().inputs.flatten(0, 1)).numpy(), towers.text(ids).numpy()]


def answers(encoder: Any) -> list[np.ndarray]:
    return [vectors_of(encoder, frames()), encoder.encode_text(TEXTS)]


def assert_near(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def assert_apart(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one - other).max() > 1e-2


def test_peft_reads_what_vlar_saves(base: Path, tmp_path: Path) -> None:
    encoder = load_encoder(f"hf:{base}")
    adapter = shaken(Lora.attach(encoder, {"mlp": True, "rank": 3, "alpha": 40.0}))
    ids = encoder.token_ids(TEXTS)  # type: ignore[attr-defined]
    folder = Model(adapter).save(tmp_path / "mine")
    assert all((folder / name).is_file() for name in FILES)
    changed = PeftModel.from_pretrained(library_model(base), str(folder))
    assert_near(features(changed, ids), own_features(adapter, ids))
    assert_apart(features(library_model(base), ids), own_features(adapter, ids))
    assert changed.peft_config["default"].base_model_name_or_path == str(base)
    assert_near(answers(load(folder).words.encoder), answers(adapter))
    assert_near(answers(load_encoder(f"hf:{base}?lora={folder}")), answers(adapter))
    assert_apart(answers(encoder), answers(adapter))


@pytest.mark.parametrize("kind", ["use_rslora", "use_dora"])
def test_vlar_reads_what_peft_saves(kind: str, base: Path, tmp_path: Path) -> None:
    config = LoraConfig(
        r=2, lora_alpha=6, target_modules=["q_proj", "v_proj", "fc1"],
        rank_pattern={"fc1": 3}, init_lora_weights=False, lora_dropout=0.3, **{kind: True},
    )  # fmt: skip
    torch.manual_seed(3)
    changed = get_peft_model(library_model(base), config).eval()
    changed.save_pretrained(str(tmp_path))
    plain, encoder = load_encoder(f"hf:{base}"), load_encoder(f"hf:{base}?lora={tmp_path}")
    ids = encoder.token_ids(TEXTS)  # type: ignore[attr-defined]
    towers: Any = encoder
    with torch.no_grad():
        pixels = batch().inputs.flatten(0, 1)
        found = [towers.towers.image(pixels).numpy(), towers.towers.text(ids).numpy()]
    assert_near(found, features(changed, ids))
    assert_apart(found, features(library_model(base), ids))
    assert encoder.fingerprint != plain.fingerprint


def test_changes_of_an_open_clip_model_fit_the_same_weights_in_transformers(tmp_path: Path) -> None:
    """The blocks of both are the same; open_clip keeps queries, keys and values as one matrix."""
    from transformers import CLIPConfig, CLIPModel

    config = models.openclip_config(quick_gelu=True)
    ours = models.save_openclip(tmp_path / "base", config).state_dict()
    sizes = {"num_attention_heads": 2, "num_hidden_layers": 3, "hidden_act": "quick_gelu"}
    theirs = CLIPModel(
        CLIPConfig(
            text_config={
                **sizes,
                "hidden_size": 24,
                "intermediate_size": 96,
                "vocab_size": 49408,
                "max_position_embeddings": 16,
                "eos_token_id": 49407,
            },
            vision_config={
                **sizes,
                "hidden_size": 32,
                "intermediate_size": 128,
                "image_size": 32,
                "patch_size": 8,
            },
            projection_dim=24,
        )
    ).eval()
    state = theirs.state_dict()
    for name, value in ours.items():
        for target, tensor in in_transformers(name, value):
            state[target] = tensor
    theirs.load_state_dict(state)
    adapter = shaken(Lora.attach(load_encoder(f"openclip:{tmp_path / 'base'}"), {"mlp": True}))
    ids = adapter.base.token_ids(TEXTS)
    folder = Model(adapter).save(tmp_path / "mine")
    plain = features(theirs, ids)
    changed = PeftModel.from_pretrained(theirs, str(folder))
    assert_near(features(changed, ids), own_features(adapter, ids))
    assert_apart(plain, own_features(adapter, ids))


def in_transformers(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Weights of open_clip by the names of transformers."""
    tower = "vision_model" if name.startswith("visual.") else "text_model"
    name = name.removeprefix("visual.")
    whole = {
        "logit_scale": ("logit_scale", value),
        "proj": ("visual_projection.weight", value.t() if value.ndim == 2 else value),
        "text_projection": ("text_projection.weight", value.t() if value.ndim == 2 else value),
        "conv1.weight": ("vision_model.embeddings.patch_embedding.weight", value),
        "class_embedding": ("vision_model.embeddings.class_embedding", value),
        "token_embedding.weight": ("text_model.embeddings.token_embedding.weight", value),
        "positional_embedding": (f"{tower}.embeddings.position_embedding.weight", value),
    }
    if name in whole:
        return [whole[name]]
    norms = {"ln_pre": "pre_layrnorm", "ln_post": "post_layernorm", "ln_final": "final_layer_norm"}
    first, _, part = name.partition(".")
    if first in norms:
        return [(f"{tower}.{norms[first]}.{part}", value)]
    if not name.startswith("transformer.resblocks."):
        return []
    _, _, number, part = name.split(".", 3)
    layer, kind = f"{tower}.encoder.layers.{number}", part.rpartition(".")[2]
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        names = [f"{layer}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
        return list(zip(names, value.chunk(3), strict=True))
    places = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
              "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    return [(f"{layer}.{places[part.rpartition('.')[0]]}.{kind}", value)]


def test_a_folder_of_before_is_read(clip: Path, tmp_path: Path) -> None:
    adapter = shaken(Lora.attach(load_encoder(f"hf:{clip}")))
    folder = Model(adapter).save(tmp_path / "mine")
    for name in FILES:
        (folder / name).unlink()
    old = folder / "adapter.safetensors"
    save_file(adapter.state_dict(), old)
    manifest = json.loads((folder / "vlar.json").read_text())
    manifest["files_sha256"] = {old.name: sha256(old, 10**9)}
    (folder / "vlar.json").write_text(json.dumps(manifest))
    assert_near(answers(load(folder).words.encoder), answers(adapter))
    save_file({f"x.{name}": array for name, array in load_file(old).items()}, old)
    manifest["files_sha256"] = {old.name: sha256(old, 10**9)}
    (folder / "vlar.json").write_text(json.dumps(manifest))
    refused(ModelError, "it was made with other settings", load, folder)


@pytest.mark.parametrize("fault", ["kind", "part", "width", "option", "none", "json", "header"])
def test_other_folders_are_refused(fault: str, clip: Path, tmp_path: Path) -> None:
    model, folder = library_model(clip), tmp_path / "changes"
    config: Any = LoraConfig(r=2, target_modules=["q_proj"])
    if fault == "kind":
        config = IA3Config(target_modules=["q_proj"], feedforward_modules=[])
    get_peft_model(model, config).save_pretrained(str(folder))
    file, settings = folder / FILES[1], folder / FILES[0]
    stated = json.loads(settings.read_text())
    arrays = load_file(file)
    if fault == "part":
        stated["target_modules"] = ["k_proj"]
    if fault == "width":
        arrays = {name: np.zeros((3, 5), np.float32) for name in arrays}
    if fault == "option":
        stated["layer_replication"] = [[0, 2], [1, 3]]
    settings.write_text(json.dumps(stated) if fault != "json" else "{")
    save_file(arrays, file)
    if fault == "none":
        file.rename(folder / "adapter_model.bin")
    if fault == "header":
        file.write_bytes(file.read_bytes()[:-8])
    message = {
        "kind": "holds no LoRA", "part": "does not fit the model at", "width": "does not fit the",
        "option": "sets layer_replication", "none": "lacks adapter_config.json or",
        "json": "cannot be read", "header": "cannot be read",
    }[fault]  # fmt: skip
    refused(ModelError, message, load_encoder, f"hf:{clip}?lora={folder}")
    shutil.rmtree(folder)


def test_the_option_belongs_to_models_with_two_towers(clip: Path, tmp_path: Path) -> None:
    refused(UnknownNameError, "did you mean 'lora'", load_encoder, f"hf:{clip}?lorra=x")
    refused(ModelError, "lacks adapter_config.json", load_encoder, f"hf:{clip}?lora=nowhere")
    folder = tiny_models.save("videomae", tmp_path / "classes")
    refused(UsageError, "is a classifier", load_encoder, f"hf:{folder}?lora={clip}")
