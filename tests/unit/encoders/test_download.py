"""Models are fetched whole or not at all; every way that fails is one line that says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.refusals import refused
from vlar.encoders import catalogue, download
from vlar.encoders.clip import options
from vlar.errors import ModelError, UsageError

from .hub_stand_in import Hub, used

CLIP = catalogue.entry("clip")
FILES = {
    "README.md": b"a card",
    "config.json": b"{}",
    "flax_model.msgpack": b"other weights",
    "model.safetensors": b"weights" * 10,
    "modeling.py": b"raise SystemExit",
    "pytorch_model.bin": b"a pickle",
    "tokenizer.json": b'{"a":1}',
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Generator[Hub]:
    with used(repository, tmp_path / "hub", CLIP.revision or "") as stand_in:
        yield stand_in


def left(tmp_path: Path) -> list[str]:
    """Names of all files in the hub's cache but its own marks."""
    files = (p for p in (tmp_path / "hub").rglob("*") if p.is_file())
    return sorted(p.name for p in files if p.suffix != ".lock" and p.name != "CACHEDIR.TAG")


def test_a_model_is_fetched_without_its_code_and_its_pickles(hub: Hub, tmp_path: Path):
    steps: list[int] = []
    assert not CLIP.is_here()
    folder = download.fetch(CLIP, begin=steps.append, count=steps.append)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert steps[0] == sum(steps[1:]) == 70 + 2 + 7
    assert [name for name, _ in hub.asked][0::2] == ["model.safetensors", "config.json"]
    assert CLIP.is_here()
    hub.asked.clear()
    assert download.fetch(CLIP) == folder
    assert hub.asked == []


def test_a_broken_connection_is_taken_up_where_it_stopped(hub: Hub):
    (hub.folder / "model.safetensors").write_bytes(bytes(30_000_000))
    hub.breaks_at = 20_000_000
    download.fetch(CLIP)
    assert hub.asked[:2] == [("model.safetensors", None), ("model.safetensors", "bytes=10485760-")]
    assert CLIP.is_here()


def test_a_download_that_never_ends_well_leaves_nothing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.breaks_at = 20
    with pytest.raises(ModelError, match=r"broke off after several tries.*vlar models get clip"):
        download.fetch(CLIP)
    assert left(tmp_path) == []
    assert not CLIP.is_here()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_hash_is_refused_and_removed(hub: Hub, tmp_path: Path, name: str):
    hub.wrong_hash = name
    refused(ModelError, f"{name} .* another hash", download.fetch, CLIP)
    assert left(tmp_path) == []
    assert not CLIP.is_here()


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    refused(ModelError, "nothing was written", download.fetch, CLIP)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "words"), [(403, "accept its terms"), (404, "has no model"), (500, "broke off")]
)
def test_a_hub_that_refuses_is_one_line(hub: Hub, status: int, words: str):
    hub.status = status
    refused(ModelError, words, download.fetch, CLIP)


def test_a_repository_without_weights_is_refused(hub: Hub):
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "pytorch_model.bin").unlink()
    refused(ModelError, "holds no weights", download.fetch, CLIP)


def test_offline_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = refused(ModelError, "HF_HUB_OFFLINE is set", download.fetch, CLIP)
    assert "\n" not in error.value.message
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1"):
        download.fetch(catalogue.entry("qwen3-vl-embedding"))
    assert options.why_offline() == "no connection to 127.0.0.1"


@pytest.mark.parametrize(
    ("what", "family"),
    [
        ("speech:openai/whisper-tiny", "speech"), ("st:a/b", "st"),
        ("openclip:ViT-B-32/x", "openclip"),
        ("the text tower of openclip:ViT-B-32/x", "openclip"), ("ViT-B-32", "openclip"),
    ],
)  # fmt: skip
def test_offline_names_the_spelling_of_a_folder(what: str, family: str):
    assert options.offline(what, "a/b", "no network").message.endswith(f" use {family}:FOLDER")


@pytest.mark.parametrize("changes", [{"non_commercial": True}, {"gated": True}])
def test_terms_must_be_accepted(hub: Hub, changes: dict[str, bool]):
    entry = replace(CLIP, **changes)
    refused(UsageError, "--accept-licence", download.fetch, entry)
    assert hub.asked == []
    assert download.fetch(entry, accept_licence=True).is_dir()


def test_open_clip_takes_one_file_of_weights():
    names = ["open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    entry = catalogue.entry("pe-core")
    assert set(download.wanted([*names, "model.safetensors"], entry)) == set(names[:2])
    assert set(download.wanted([names[0], names[2]], entry)) == {names[0], names[2]}
    assert download.wanted(names, CLIP) == []
