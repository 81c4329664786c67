"""Sources are fetched whole or not at all; every failure is one line that says what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.refusals import refused
from vlar.encoders import catalogue, download, hub_source
from vlar.encoders.clip import options
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.progress import shown_by

from .hub_stand_in import Hub, proxy, used

CLIP = catalogue.entry("clip")
SOURCE = hub_source.Hub(CLIP.hub_name, CLIP.revision)
FILES = {
    "README.md": b"a card",
    "config.json": b"{}",
    "flax_model.msgpack": b"other weights",
    "model.fp16.safetensors": b"a variant",
    "model.safetensors": b"weights" * 10,
    "modeling.py": b"raise SystemExit",
    "onnx/config.json": b"another form",
    "pytorch_model.bin": b"a pickle",
    "tokenizer.json": b'{"a":1}',
}


def fetch(**more: Any) -> Path:
    (listing,) = download.fetch("clip", [SOURCE], **more)
    return listing.folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    place.mkdir()
    (place / "onnx").mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    return place


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Generator[Hub]:
    with used(repository, tmp_path / "hub", CLIP.revision or "") as stand_in:
        yield stand_in


def left(tmp_path: Path) -> dict[str, int]:
    """Names and bytes of all files in the hub's cache but its own marks and its links."""
    files = (p for p in (tmp_path / "hub").rglob("*") if p.is_file() and not p.is_symlink())
    marks = (".lock",)
    kept = (p for p in files if p.suffix not in marks and p.name != "CACHEDIR.TAG")
    return {p.name: p.stat().st_size for p in kept}


def test_a_model_is_fetched_without_its_code_and_its_pickles(hub: Hub):
    (hub.folder / "model.safetensors").write_bytes(bytes(5_000_000))
    stages: list[Any] = []

    class Shown:
        def __init__(self, *stage: Any) -> None:
            stages.append(stage)

        def __enter__(self) -> Any:
            return lambda count=0, total=None: stages.append(count)

        def __exit__(self, *_: object) -> None:
            pass

    assert not CLIP.is_here()
    with shown_by(Shown):
        folder = fetch()
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert stages[0] == ("fetching clip", 5, "MB")
    assert sum(stages[1:]) == 5
    assert [name for name, _ in hub.asked][0::2] == ["model.safetensors", "config.json"]
    assert CLIP.is_here()
    assert SOURCE.folder() == folder
    hub.asked.clear()
    assert fetch() == folder
    assert hub.asked == []


def test_the_size_is_said_before(hub: Hub, caplog: pytest.LogCaptureFixture):
    (hub.folder / "model.safetensors").write_bytes(bytes(3_000_000))
    fetch()
    (record,) = caplog.records
    assert record.message.startswith("fetching 3.0 MB for clip: openai/clip-vit-base-patch16 (MIT;")
    assert f"commit {str(CLIP.revision)[:12]})" in record.message
    caplog.clear()
    fetch()
    assert caplog.records == []


def test_a_broken_connection_is_taken_up_where_it_stopped(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000_000)
    (hub.folder / "model.safetensors").write_bytes(bytes(3_000_000))
    hub.breaks_at = 2_000_000
    fetch()
    assert hub.asked[0] == ("model.safetensors", None)
    assert hub.asked[1] in [("model.safetensors", f"bytes={n}000000-") for n in (1, 2)]
    assert CLIP.is_here()


def test_a_download_that_broke_off_goes_on_in_another_process(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    weights = bytes(range(250)) * 10
    (hub.folder / "model.safetensors").write_bytes(weights)
    hub.stops_at = 1200
    again = r"broke off after several tries.*vlar models get clip' again: it goes on"
    refused(ModelError, again, fetch)
    ((name, n_bytes),) = left(tmp_path).items()
    assert name.endswith(".vlar.incomplete")
    assert n_bytes == 1000
    assert not CLIP.is_here()
    assert SOURCE.folder() is None
    hub.stops_at = None
    hub.asked.clear()
    folder = fetch()
    assert hub.asked[0] == ("model.safetensors", "bytes=1000-")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert not any(name.endswith(".incomplete") for name in left(tmp_path))


def test_a_begun_file_that_is_damaged_is_refused_and_begun_again(hub: Hub):
    blob = (fetch() / "model.safetensors").resolve()
    blob.unlink()
    begun = blob.with_name(f"{blob.name}.vlar.incomplete")
    begun.write_bytes(b"damaged")
    refused(ModelError, "model.safetensors .* another hash", fetch)
    begun.write_bytes(bytes(1000))  # more than the whole
    assert (fetch() / "model.safetensors").read_bytes() == FILES["model.safetensors"]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_hash_is_refused_and_removed(hub: Hub, tmp_path: Path, name: str):
    hub.wrong_hash = name
    refused(ModelError, f"{name} .* another hash", fetch)
    kept = {len(FILES["model.safetensors"])} if name == "tokenizer.json" else set[int]()
    assert set(left(tmp_path).values()) == kept
    assert not CLIP.is_here()
    assert SOURCE.folder() is None


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    refused(ModelError, "nothing was written", fetch)
    assert hub.asked == []


def test_a_disk_that_fills_up_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download._Counted, "write", full)
    refused(ModelError, "the disk is full; make room, then run 'vlar models get clip' again", fetch)
    assert not CLIP.is_here()


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, ModelError, "accept its terms"), (404, UnknownNameError, "has no model"),
        (401, ModelError, "refuses .*HF_TOKEN"), (500, ModelError, "broke off"),
    ],
)  # fmt: skip
def test_a_hub_that_refuses_is_one_line(hub: Hub, status: int, error: Any, words: str):
    hub.status = status
    assert "\n" not in refused(error, words, fetch).value.message


def test_a_gated_repository_wants_acceptance_and_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    hub.members = {"hf_member"}
    refused(UsageError, "vlar models get clip --accept-licence", fetch)
    asks = "asks to accept its terms: do so on its page.*HF_TOKEN.*get clip --accept-licence' again"
    refused(ModelError, asks, fetch, accept_licence=True)
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    refused(ModelError, asks, fetch, accept_licence=True)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    refused((ModelError, UnknownNameError), "HF_TOKEN", fetch, accept_licence=True)
    assert not CLIP.is_here()
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    assert (fetch(accept_licence=True) / "model.safetensors").is_file()


def test_a_proxy_is_used(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import close_session, constants

    host = "http://a-hub-that-only-the-proxy-reaches.test"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, host)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", host)
    monkeypatch.setenv("HF_ENDPOINT", host)
    with proxy(hub) as (url, hosts):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        close_session()  # the client reads the proxy once
        try:
            assert (fetch() / "model.safetensors").is_file()
        finally:
            close_session()
    assert set(hosts) == {host.removeprefix("http://")}
    assert len(hosts) > 6


def test_a_repository_without_weights_is_refused(hub: Hub):
    (hub.folder / "model.safetensors").unlink()
    (hub.folder / "pytorch_model.bin").unlink()
    refused(ModelError, "holds no model.safetensors or .*pytorch_model.bin", fetch)


def test_offline_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = refused(ModelError, "HF_HUB_OFFLINE is set", fetch)
    assert "\n" not in error.value.message
    wanted = download.sources("siglip2")
    refused(ModelError, "hf:google/siglip2.* use hf:FOLDER$", download.fetch, "siglip2", wanted)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1"):
        fetch()
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


@pytest.mark.parametrize(
    "card", [{"license": "cc-by-nc-4.0"}, {"license": "other", "license_name": "apple-amlr"}]
)
def test_terms_that_the_hub_states_must_be_accepted(hub: Hub, card: dict[str, str]):
    hub.card, source = card, hub_source.Hub("any/model")
    says = f"{list(card.values())[-1]} .*run: vlar models get hf:any/model --accept-licence"
    refused(UsageError, says, download.fetch, "hf:any/model", [source])
    assert hub.asked == []
    (listing,) = download.fetch("hf:any/model", [source], accept_licence=True)
    assert list(card.values())[-1] in str(listing)
    hub.card = {"license": "apache-2.0"}
    (listing,) = download.fetch("hf:any/model", [source])
    assert str(listing) == f"any/model (apache-2.0; commit {hub.commit[:12]})"


def test_one_form_of_the_weights_is_fetched():
    names = ["open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    (entry,) = download.sources("pe-core")
    assert entry.wanted([*names, "model.safetensors"]) == names[1::-1]
    assert set(entry.wanted([names[0], names[2]])) == {names[0], names[2]}
    assert SOURCE.wanted(names) == []
    (parts,) = download.sources("st:a/b")
    deep = ["1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"]
    assert set(parts.wanted([*deep, "onnx/model.safetensors", "a/b/c.json"])) == set(deep)
    (tiny,) = download.sources("whisper-tiny")
    assert tiny.repository == "openai/whisper-tiny"
