"""A manifest or a library may name only paths that the user has named, unchanged since."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlar
from tests.fixtures.models_1 import tiny
from tests.refusals import refused
from vlar.encoders import trusted_paths
from vlar.errors import EncoderMismatchError, ModelError
from vlar.registry import register

NOT_NAMED, CHANGED = "that you have not named", "have changed since you named it"


@register("encoder", "tiny-of-file")
class OfFile(tiny.Tiny):
    """An encoder whose argument is a file."""

    @classmethod
    def from_spec(cls, argument: str) -> OfFile:
        """The content of the file is a part of the fingerprint."""
        made = cls()
        made.name = f"tiny-of-file:{argument}"
        made.fingerprint = f"tiny-{Path(argument).read_text()}"
        return made


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forgets what was named, as another machine would."""

    def forget() -> None:
        trusted_paths._in_this_process.clear()
        monkeypatch.setenv(
            "VLAR_CACHE", str(tmp_path / f"cache-{np.random.default_rng().integers(1e9)}")
        )

    forget()
    return forget


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights.txt").write_text("one")
    return tmp_path / "weights.txt"


@pytest.mark.parametrize(
    "spec",
    [
        "lite", "openclip:ViT-B-32/openai", "openclip:ViT-B-32/openai?precision=bfloat16",
        "hf:google/siglip2-base-patch16-224", "lite-motion", "clip+motion",
        "bundle:skeleton+imu", "openclip:ViT-S-32-alt?random_init=true",
    ],
)  # fmt: skip
def test_names_without_a_path(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trusted_paths.local_paths(spec) == []
    trusted_paths.require(spec, "any", "a library")


@pytest.mark.parametrize(
    "spec",
    [
        "/a/model", "./model", "../model", "~/model", "openclip:/a/b", "openclip:~/b", "hf:./b",
        "tc-clip:best.pth", "openclip:b.safetensors?arch=ViT-B-32", "tc-clip:x?base=openclip:/a",
        "tc-clip:x?base=openclip:%2Fa", "openclip:ViT-B-32/openai+hf:/a", "lite+openclip:/a",
    ],
)  # fmt: skip
def test_names_with_a_path(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trusted_paths.local_paths(spec) != []


def test_a_folder_that_is_called_as_a_model_of_the_hub_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    (tmp_path / "openai" / "clip-vit-base-patch32").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=NOT_NAMED):
        trusted_paths.require("hf:openai/clip-vit-base-patch32", None, "a library")


def test_a_model_folder_names_a_path_only_after_the_user(weights: Path, elsewhere: Any) -> None:
    spec = f"tiny-of-file:{weights}"
    saved = vlar.load(spec).save(weights.parent / "model")
    vlar.load(saved)  # the user has named it, in this process
    trusted_paths._in_this_process.clear()
    vlar.load(saved)  # and in an earlier one
    elsewhere()
    caught = refused(ModelError, NOT_NAMED, vlar.load, saved)
    assert f"vlar models trust {spec}" in caught.value.message
    vlar.load(spec)
    vlar.load(saved)


def test_changed_files_are_refused_before_the_fingerprint_could_be(
    weights: Path, elsewhere: Any
) -> None:
    spec = f"tiny-of-file:{weights}"
    saved = vlar.load(spec).save(weights.parent / "model")
    weights.write_text("two")
    refused(ModelError, CHANGED, vlar.load, saved)
    vlar.load(spec)
    refused(EncoderMismatchError, "another version", vlar.load, saved)


def test_a_file_that_is_added_to_a_folder_is_a_change(tmp_path: Path, elsewhere: Any) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text("{}")
    trusted_paths.remember(f"hf:{tmp_path}/w", "f")
    trusted_paths.require(f"hf:{tmp_path}/w", "f", "a library")
    (tmp_path / "w" / "code.py").write_text("print()")
    refused(ModelError, CHANGED, trusted_paths.require, f"hf:{tmp_path}/w", "f", "a library")


def test_a_relative_path_counts_from_where_it_was_named(
    weights: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    monkeypatch.chdir(weights.parent)
    trusted_paths.remember("tiny-of-file:./weights.txt", "f")
    trusted_paths.require("tiny-of-file:./weights.txt", "f", "a library")
    (weights.parent / "other").mkdir()
    (weights.parent / "other" / "weights.txt").write_text("one")
    monkeypatch.chdir(weights.parent / "other")
    with pytest.raises(ModelError, match=NOT_NAMED):
        trusted_paths.require("tiny-of-file:./weights.txt", "f", "a library")


def test_without_a_cache_the_process_remembers(
    weights: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    monkeypatch.setenv("VLAR_CACHE", "/dev/null/nowhere")
    trusted_paths.remember(f"tiny-of-file:{weights}", "f")
    trusted_paths.require(f"tiny-of-file:{weights}", "f", "a library")


@pytest.mark.parametrize("content", ["[]", "{", '{"x": 3}', "[" * 100_000])
def test_a_damaged_list_forgets_and_is_written_again(
    content: str, weights: Path, elsewhere: Any
) -> None:
    from vlar.files.resources import cache_dir

    cache_dir().mkdir(parents=True)
    (cache_dir() / "named-models.json").write_text(content)
    spec = f"tiny-of-file:{weights}"
    refused(ModelError, NOT_NAMED, trusted_paths.require, spec, "f", "a library")
    trusted_paths.remember(spec, "f")
    assert list(json.loads((cache_dir() / "named-models.json").read_text())) == [spec]


def test_a_library_names_a_path_only_after_the_user(tmp_path: Path, elsewhere: Any) -> None:
    clip = tiny.clip(tmp_path / "clips", "fall", 1)
    folder = vlar.load("tiny-for-fixtures").save(tmp_path / "model")
    vlar.Library(tmp_path / "l.vlar", folder).add([clip])
    vlar.Library(tmp_path / "l.vlar").query("fall")  # the user saved that folder
    elsewhere()
    for use in (
        lambda library: library.query("fall"),
        lambda library: library.add([tiny.clip(tmp_path / "clips", "rise", 1)]),
        lambda library: library.upgrade(),
    ):
        refused(ModelError, NOT_NAMED, use, vlar.Library(tmp_path / "l.vlar"))
    vlar.Library(tmp_path / "l.vlar", folder).query("fall")


@pytest.mark.parametrize("why", ["not named", "changed", "another fingerprint"])
def test_the_command_imports_nothing_of_a_path_that_is_refused(
    tmp_path: Path, elsewhere: Any, why: str
) -> None:
    (tmp_path / "weights").mkdir()
    spec = f"openclip:{tmp_path}/weights"
    saved = vlar.load("tiny-for-fixtures").save(tmp_path / "model")
    manifest = json.loads((saved / "vlar.json").read_text())
    manifest["encoder"]["spec"] = spec
    (saved / "vlar.json").write_text(json.dumps(manifest))
    if why != "not named":
        other = "x" if why == "another fingerprint" else manifest["encoder"]["fingerprint"]
        trusted_paths.remember(spec, other)
    if why == "changed":
        (tmp_path / "weights" / "open_clip_config.json").write_text("{}")
    clip = tmp_path / "a.mp4"  # a missing one is named before the model
    clip.write_bytes(b"0")
    code = (
        "import sys\nfrom vlar.apps.cli.app import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print(sorted({'torch', 'open_clip', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "classify", str(clip), "--labels", "a", "--model", str(saved)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["code 2", "[]"], done.stderr
    says = {"not named": NOT_NAMED, "changed": CHANGED, "another fingerprint": "another version"}
    assert says[why] in done.stderr
