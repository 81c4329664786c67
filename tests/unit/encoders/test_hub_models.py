"""Every kind of model that lies on a hub: fetched at its first use or by ``vlar models get``."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest

import vlar
from tests import tiny_models, tiny_st
from tests.command_line import invoke
from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.apps.cli import doctor
from vlar.encoders import download
from vlar.encoders.base import load_encoder
from vlar.encoders.catalogue import entries
from vlar.errors import ModelError
from vlar.language.bank import load_bank
from vlar.model import core

from .hub_stand_in import COMMIT, Hub, used

TEXTS = ["A Person cooks", "a dog runs"]
PINNED = f"revision={COMMIT}"
_SIGLIP = "openclip:ViT-B-16-SigLIP?random_init=true"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``me/clip`` of transformers, ``me/st`` of sentence-transformers, ``me/open`` of open_clip."""
    place = tmp_path_factory.mktemp("repositories")
    tiny_models.save("clip", place / "me" / "clip")
    tiny_st.save("clip", place / "me" / "st")
    models.save_openclip(place / "me" / "open", models.openclip_config())
    tiny_models.tokenizer().save_pretrained(place / "me" / "tokens")
    return place


@pytest.fixture
def hub(
    repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Hub, None, None]:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(core, "BACKGROUND_BANK", "ucf101")  # an eighth of the texts
    with used(repositories, tmp_path / "hub") as stand_in:
        yield stand_in


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> str:
    """``openclip:tiny/mine``, whose weights lie in ``me/open``; its texts are read by another's."""
    settings = {**models.openclip_config(), "text_cfg": {**models.openclip_config()["text_cfg"]}}
    settings["text_cfg"]["hf_tokenizer_name"] = "me/tokens"
    cfg = {"hf_hub": "me/open/", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    usual = open_clip.get_model_config

    def config(name: str) -> Any:
        return json.loads(json.dumps(settings)) if name == "tiny" else usual(name)

    for module in ("open_clip", "open_clip.factory"):
        monkeypatch.setattr(f"{module}.get_model_config", config)
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny"])
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: ["mine"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: cfg)
    return "openclip:tiny/mine"


@contextmanager
def offline() -> Generator[None, None, None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.mark.parametrize("kind", ["hf", "st"])
def test_the_first_use_fetches_and_pins_what_is_saved(hub: Hub, kind: str):
    name = "clip" if kind == "hf" else "st"
    encoder = load_encoder(f"{kind}:me/{name}")
    assert encoder.name == f"{kind}:me/{name}?{PINNED}"
    local = load_encoder(f"{kind}:{hub.folder / 'me' / name}")
    assert encoder.fingerprint == local.fingerprint
    np.testing.assert_array_equal(encoder.encode_text(TEXTS), local.encode_text(TEXTS))
    asked = len(hub.asked)
    with offline():
        for spec in (f"{kind}:me/{name}@{COMMIT}", encoder.name, f"{kind}:me/{name}"):
            assert load_encoder(spec).name == encoder.name
        missing = "is not in the local cache .*HF_HUB_OFFLINE"
        refused(ModelError, missing, load_encoder, f"{kind}:me/{name}@{'2' * 40}")
    assert len(hub.asked) == asked


def test_a_tag_of_open_clip_brings_its_tokeniser(hub: Hub, tag: str):
    encoder = load_encoder(tag)
    assert encoder.name == f"{tag}?{PINNED}"
    names = [name for name, _ in hub.asked]
    assert names.index("open_clip_model.safetensors") < names.index("tokenizer_config.json")
    vectors, asked = encoder.encode_text(TEXTS), len(hub.asked)
    with offline():
        np.testing.assert_array_equal(load_encoder(encoder.name).encode_text(TEXTS), vectors)
        assert load_encoder("openclip:tiny?random_init=true").name.endswith("random_init=true")
    assert len(hub.asked) == asked


def test_a_tokeniser_without_a_network_is_one_line(capfd: pytest.CaptureFixture[str]):
    """It printed the 24 tries of the hub's client before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        done = invoke(["models", "get", _SIGLIP])
    assert "no connection to 127.0.0.1" in done.output
    assert "hf download timm/ViT-B-16-SigLIP " in done.output
    assert done.output.count("\n") + capfd.readouterr().err.count("\n") <= 2


@pytest.mark.parametrize("spec", ["hf:me/clip", "openclip:tiny/mine"])
def test_get_takes_any_spec_and_encodes_what_answers_are_compared_with(
    hub: Hub, tag: str, spec: str, monkeypatch: pytest.MonkeyPatch
):
    hub.card = {"license": "cc-by-nc-4.0"}
    done = invoke(["models", "get", spec])
    assert done.exit_code == 2
    assert "cc-by-nc-4.0 (see the card of me/" in done.output
    assert f"run: vlar models get {spec} --accept-licence" in done.output
    done = invoke(["models", "get", spec, "--accept-licence"])
    assert done.exit_code == 0, done.output
    assert f"(cc-by-nc-4.0; commit {COMMIT[:12]}) is ready in" in done.output
    assert f"{spec} answers" in done.output
    with offline():
        model = vlar.load(spec)
        again = invoke(["models", "get", spec, "--accept-licence", "--no-check"])
        assert again.output == f"nothing to fetch for {spec}\n"
    assert download.compare(model.encoder) == pytest.approx(1, abs=1e-6)
    monkeypatch.setattr(type(model.encoder), "encode_in_role", _not_again)
    assert len(model.words.background) == len(load_bank("ucf101").texts)


def _not_again(*_: Any) -> Any:
    raise AssertionError("texts that 'get' encodes are not encoded at the first answer")


def test_doctor_compares_whatever_was_fetched_with_its_first_vectors(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "_encoder", lambda: "")  # of lite
    assert invoke(["models", "get", "hf:me/clip"]).exit_code == 0
    (name,) = download.compared_names()
    assert name.startswith("hf:me/clip?")
    with offline():
        done = invoke(["doctor"])
        assert (done.exit_code, done.output.count("BROKEN")) == (0, 0), done.output
        assert f"ok      model {name} answers as when its vectors were kept" in done.output
        kept = tmp_path / "cache" / "verified.json"
        ((key, row),) = json.loads(kept.read_text()).items()
        kept.write_text(json.dumps({key: {"clip": row["sentence"], "sentence": row["clip"]}}))
        done = invoke(["doctor"])  # the control: another answer than the first
        assert done.exit_code == 1
        assert f"BROKEN  model {name} {name} answers otherwise" in done.output
    for path in (tmp_path / "hub").rglob("config.json"):
        path.unlink()
    assert download.compared_names() == []


def test_doctor_calls_a_fetched_model_of_the_table_by_its_word(monkeypatch: pytest.MonkeyPatch):
    spec = entries()["clip"].full_spec
    names = [f"{spec}&precision=bfloat16", f"{spec}x", "hf:me/clip"]
    monkeypatch.setattr(download, "compared_names", lambda: names)
    rows = doctor._models()
    assert ("clip", names[0]) in rows
    assert ("clip", "clip") not in rows  # it is in bfloat16 here
    assert rows[-2:] == [(name, name) for name in names[1:]]


def test_get_fetches_the_encoder_of_a_model_folder(hub: Hub, tmp_path: Path):
    model = vlar.Model(load_encoder("hf:me/clip"))
    folder = model.save(tmp_path / "mine")
    assert json.loads((folder / "vlar.json").read_text())["encoder"]["spec"].endswith(PINNED)
    for path in (tmp_path / "hub").rglob("config.json"):
        path.unlink()
    done = invoke(["models", "get", str(folder)])
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "hub").rglob("config.json"))


@pytest.mark.parametrize("spec", ["lite+motion", "openclip:ViT-S-32-alt?random_init=true"])
def test_get_of_what_needs_no_hub_says_so(spec: str):
    done = invoke(["models", "get", spec, "--no-check"])
    assert done.exit_code == 0, done.output
    assert f"nothing to fetch for {spec}" in done.output


def test_a_library_states_the_revision(hub: Hub, tmp_path: Path, demo_clips: dict[str, Path]):
    with vlar.Library(tmp_path / "a.vlar", model="hf:me/clip") as library:
        library.add([demo_clips["bikes"]])
        assert library.info().model == f"hf:me/clip?{PINNED}"


@pytest.mark.parametrize("name", ["nothing", "hf:a/b?what=1", "viclip"])
def test_get_of_a_name_that_is_none_is_refused(name: str):
    assert invoke(["models", "get", name]).exit_code == 2
