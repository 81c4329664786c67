"""The catalogue of encoders: aliases, revisions, missing libraries, the check of ``doctor``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.encoders.clip import models
from vlar.encoders import catalogue, download
from vlar.encoders.base import load_encoder
from vlar.encoders.spec import missing_library, other_kind
from vlar.errors import ModelError, UnknownNameError, UsageError

ENTRIES = catalogue.entries()


@pytest.mark.parametrize("alias", ENTRIES)
def test_a_row_is_whole(alias: str):
    row = ENTRIES[alias]
    assert re.fullmatch(r"[a-z0-9-]+", alias)
    assert row.purpose
    assert row.licence
    assert row.revision is None or re.fullmatch(r"[0-9a-f]{40}", row.revision)
    assert set(row.figures) <= set(catalogue.protocols())
    known = {f"{use}.{device}" for use in catalogue.USES for device in catalogue.DEVICES}
    assert set(row.advice) <= known
    assert not row.dims or (row.dims[0] == row.dim)
    assert ("NC" in row.licence or "research" in row.licence) == row.non_commercial
    told = row.to_dict()
    assert told["revision"] == (row.revision or "revision not pinned")
    assert all("source" in figures and "what" in figures for figures in told["figures"].values())


def test_the_page_names_the_rows_without_a_commit():
    page = (Path(__file__).parents[3] / "docs" / "choosing.md").read_text("utf-8")
    line = page.partition("Not pinned, since")[2].partition("\n")[0]
    free = [row.alias for row in ENTRIES.values() if row.revision is None and row.spec != "lite"]
    assert re.findall(r"`([\w-]+)`", line) == free


def test_the_repositories_of_open_clip_are_those_of_its_tags():
    from open_clip.pretrained import get_pretrained_cfg

    rows = [row for row in ENTRIES.values() if row.spec.startswith("openclip:")]
    assert rows
    for row in rows:
        arch, tag = row.spec.removeprefix("openclip:").split("/")
        assert get_pretrained_cfg(arch, tag)["hf_hub"].strip("/") == row.repository


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Spec of a saved CLIP; the smallest that open_clip names has 40 million weights."""
    folder = tmp_path_factory.mktemp("clip")
    models.save_openclip(folder, models.openclip_config(quick_gelu=True))
    return f"openclip:{folder}"


def test_an_alias_is_the_full_spec():
    pinned = ENTRIES["siglip2"].revision
    assert catalogue.resolve("siglip2") == f"hf:google/siglip2-base-patch16-224?revision={pinned}"
    wide = catalogue.resolve("siglip2?precision=bfloat16")
    assert wide == f"hf:google/siglip2-base-patch16-224?revision={pinned}&precision=bfloat16"
    assert catalogue.resolve("pe-core?device=cpu") == "openclip:PE-Core-B-16/meta?device=cpu"
    assert catalogue.resolve("openclip:clip/siglip2") == "openclip:clip/siglip2"
    assert catalogue.resolve("lite") == "lite"


def test_an_alias_loads_wherever_a_model_is_named(tiny_clip: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue.CatalogueEntry, "full_spec", tiny_clip)
    assert load_encoder("clip").name == tiny_clip
    assert load_encoder("clip").name == tiny_clip


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("metaclip2", "metaclip2"), ("hf:facebook/metaclip-2-worldwide-b16", "metaclip2"),
        ("mobileclip2", "mobileclip2"), ("openclip:MobileCLIP2-S0/dfndr2b", "mobileclip2"),
        ("openclip:MobileCLIP-S1/datacompdr", "openclip:MobileCLIP-S1/datacompdr"),
        ("openclip:ViT-B-32-quickgelu/metaclip_400m", "openclip:ViT-B-32-quickgelu/metaclip_400m"),
    ],
)  # fmt: skip
def test_terms_are_asked_for_before_a_loader_fetches_by_word_and_by_spec(spec: str, word: str):
    advice = f"run: vlar models get {re.escape(word)} --accept-licence$"
    refused(UsageError, advice, load_encoder, spec)
    wanted = download.sources(spec)
    refused(UsageError, advice, download.fetch, spec, wanted)
    offline = "HF_HUB_OFFLINE is set"
    refused(ModelError, offline, download.fetch, spec, wanted, accept_licence=True)


@pytest.mark.parametrize(
    "spec",
    [
        "viclip", "hf:OpenGVLab/ViCLIP-L-14-hf", "hf:OpenGVLab/InternVideo2-Stage2_1B-224p-f4",
        "hf:LanguageBind/LanguageBind_Video_FT?precision=bfloat16", "openclip:ViCLIP/webvid",
        "CLIP4Clip", "lite+hf:me/clip4clip-webvid", "st:OpenGVLab/internvideo2_5",
    ],
)  # fmt: skip
def test_models_that_need_code_of_their_own_are_refused_by_name(spec: str):
    error = refused(ModelError, "code of its own", load_encoder, spec).value.message
    (advice,) = re.findall(r"take (.*) instead: vlar models get (\S+)$", error)
    names = advice[0].split(" or ")
    assert advice[1] == names[0]
    assert all(ENTRIES[name].is_encoder for name in names)


def test_a_folder_of_the_user_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("viclip").mkdir()
    assert catalogue.resolve("hf:viclip") == "hf:viclip"


def test_an_unknown_alias_names_the_nearest():
    for look_up in (catalogue.entry, load_encoder):
        refused(UnknownNameError, "did you mean 'siglip2'", look_up, "siglp2")


def test_advice_goes_from_the_first_choice_on():
    for use in catalogue.USES:
        for device in catalogue.DEVICES:
            rows = catalogue.recommend(use, device)
            assert len(rows) >= 3
            assert all(row.advice[f"{use}.{device}"] for row in rows)
    assert catalogue.recommend("query", "cpu")[0].alias == "lite"
    refused(UnknownNameError, "query", catalogue.recommend, "querry", "cpu")
    refused(UnknownNameError, "cuda", catalogue.recommend, "query", "tpu")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LlamaForCausalLM", "chat"), ("Qwen3VLForConditionalGeneration", "chat"),
        ("DetrForObjectDetection", "detector"), ("ViTForImageClassification", "classifier"),
        ("CLIPModel", None), ("VideoMAEForVideoClassification", None), ("Qwen3VLModel", None),
    ],
)  # fmt: skip
def test_a_model_of_another_kind_is_told_by_its_class(name: str, kind: str | None):
    found = other_kind([name])
    assert (kind in (found or "")) if kind else found is None


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'notthere'", name="notthere.part"), "notthere"),
        (RuntimeError("Please install the latest notthere (`pip install notthere`)"), "notthere"),
        (ValueError("X requires it: `pip3 install -U notthere`."), "notthere"),
    ],
)
def test_it_is_named(error: Exception, package: str) -> None:
    found = missing_library("hf:a/b", error)
    assert found is not None
    assert found.message.endswith(f"run: pip install {package}")


def test_advice_about_a_library_that_is_there_is_another_error() -> None:
    text = "the model type `new` is not known; upgrade: pip install --upgrade numpy"
    assert missing_library("hf:a/b", ValueError(text)) is None
    assert missing_library("hf:a/b", ValueError("size mismatch")) is None


def test_a_timm_tower_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.timm_model.timm", None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"run: pip install .*\[timm\]"):
        load_encoder("openclip:PE-Core-T-16-384?random_init=true")


def test_a_core_library_that_is_broken_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("vlar.encoders.clip")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        ModelError, match=r"'open_clip' is not installed; run: pip install .*\[clip\]"
    ):
        load_encoder("openclip:ViT-B-32?random_init=true")


def test_lite_answers_as_its_stored_vectors():
    """After a wanted change of lite: python benchmarks/verified_vectors.py."""
    cosine = download.compare(load_encoder("lite"))
    assert cosine is not None
    assert cosine > 0.9999


def test_a_fetched_model_is_compared_with_its_first_vectors(
    tiny_clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path))
    encoder = load_encoder(tiny_clip)
    assert download.compare(encoder) is None
    download.keep(encoder)
    assert download.compare(encoder) == pytest.approx(1, abs=1e-3)
    # The control: other weights under the same name.
    for parameter in encoder.towers.model.parameters():  # pyright: ignore
        parameter.data.mul_(np.float32(0.7))
    refused(ModelError, "answers otherwise", download.compare, encoder)
    (tmp_path / "verified.json").write_text("[")
    assert download.compare(encoder) is None
