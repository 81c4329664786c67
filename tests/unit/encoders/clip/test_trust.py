"""A folder of weights is data: its Python files never run, however it is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_st, videos
from tests.refusals import refused
from tests.unit.encoders.clip import models
from tests.unit.people.tiny_owl import save_owl
from vlar.encoders.base import load_encoder
from vlar.errors import ModelError
from vlar.generators.backends import LocalModel
from vlar.people.base import load_detector

REFUSED = "wants to run code that comes with the weights"
TOKENIZER = """
from pathlib import Path
Path({marker!r}).write_text("it ran")
from transformers import PreTrainedTokenizerFast
class Stranger(PreTrainedTokenizerFast):
    pass
"""
OTHERS = """
from pathlib import Path
Path({marker!r}).write_text("it ran")
from transformers import CLIPConfig, CLIPImageProcessor
class Stranger(CLIPConfig):
    model_type = "stranger"
class StrangerProcessor(CLIPImageProcessor):
    pass
"""


def edit(file: Path, **more: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | more), "utf-8")


def with_foreign_tokenizer(folder: Path, marker: Path) -> None:
    (folder / "foreign.py").write_text(TOKENIZER.format(marker=str(marker)))
    edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Stranger",
        auto_map={"AutoTokenizer": [None, "foreign.Stranger"]},
    )


def openclip_folder(folder: Path) -> Path:
    """A sound folder with a tokeniser of transformers."""
    config = models.openclip_config()
    config["text_cfg"].update(vocab_size=10, hf_tokenizer_name="timm/any")
    models.save_openclip(folder, config, custom=True)
    models.word_tokenizer(16).save_pretrained(folder)
    return folder


def poison(folder: Path, marker: Path) -> None:
    """What a folder of open_clip needs to run a Python file of its own."""
    with_foreign_tokenizer(folder, marker)
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    file.write_text(json.dumps(config), "utf-8")


def with_text(folder: Path, **more: Any) -> Path:
    file = openclip_folder(folder) / "open_clip_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["model_cfg"]["text_cfg"].update(more)
    file.write_text(json.dumps(config), "utf-8")
    return folder


@pytest.mark.parametrize("target", ["", "open_clip_model.safetensors"])
def test_an_openclip_folder_runs_nothing(tmp_path: Path, target: str) -> None:
    folder, marker = openclip_folder(tmp_path / "folder"), tmp_path / "marker"
    poison(folder, marker)
    caught = refused(ModelError, REFUSED, load_encoder, f"openclip:{folder / target}")
    assert "trust_remote_code in tokenizer_kwargs" in caught.value.message
    assert "\n" not in caught.value.message
    assert not marker.exists()


def test_a_tokeniser_of_its_own_is_refused_without_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = openclip_folder(tmp_path / "folder"), tmp_path / "marker"
    with_foreign_tokenizer(folder, marker)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    refused(ModelError, REFUSED, load_encoder, f"openclip:{folder}")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bpe_path": "/etc/passwd"}, "bpe_path"),
        ({"clean": 3}, "'clean' to 3"),
        ("all", "must be an object"),
    ],
)
def test_a_folder_sets_known_options_only(tmp_path: Path, options: Any, why: str) -> None:
    folder = with_text(tmp_path, tokenizer_kwargs=options)
    refused(ModelError, why, load_encoder, f"openclip:{folder}")


def test_towers_of_other_libraries_are_architectures_only(tmp_path: Path) -> None:
    folder, marker = openclip_folder(tmp_path / "folder"), tmp_path / "marker"
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["model_cfg"]["vision_cfg"] = {"timm_model_name": f"local-dir:{tmp_path}"}
    file.write_text(json.dumps(config), "utf-8")
    refused(ModelError, "timm_model_name", load_encoder, f"openclip:{folder}")
    tower = tmp_path / "tower"
    tower.mkdir()
    (tower / "foreign.py").write_text(OTHERS.format(marker=str(marker)))
    model = {"model_type": "stranger", "auto_map": {"AutoConfig": "foreign.Stranger"}}
    (tower / "config.json").write_text(json.dumps(model), "utf-8")
    folder = with_text(tmp_path / "text", hf_model_name=str(tower))
    refused(ModelError, "auto_map", load_encoder, f"openclip:{folder}")
    folder = with_text(tmp_path / "more", plugin="foreign.py")
    refused(ModelError, "'plugin'", load_encoder, f"openclip:{folder}")
    assert not marker.exists()


def poison_hf(folder: Path, part: str, marker: Path) -> None:
    (folder / "foreign.py").write_text(OTHERS.format(marker=str(marker)))
    if part == "config":
        auto = {"AutoConfig": "foreign.Stranger", "AutoModel": "foreign.Stranger"}
        edit(folder / "config.json", model_type="stranger", auto_map=auto)
    elif part == "tokenizer":
        with_foreign_tokenizer(folder, marker)
    else:
        edit(
            folder / "preprocessor_config.json",
            image_processor_type="StrangerProcessor",
            auto_map={"AutoImageProcessor": "foreign.StrangerProcessor"},
        )


@pytest.mark.parametrize("part", ["config", "tokenizer", "processor"])
def test_an_hf_folder_runs_nothing_and_asks_nothing(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, marker = tmp_path / "folder", tmp_path / "marker"
    models.save_clip(folder)
    poison_hf(folder, part, marker)
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "y")
    capfd.readouterr()
    if part == "tokenizer":  # transformers reads its files with the class that CLIP always has
        load_encoder(f"hf:{folder}")
    else:
        refused(ModelError, REFUSED, load_encoder, f"hf:{folder}")
    assert capfd.readouterr().out == ""
    assert asked == []
    assert not marker.exists()


def test_a_kernel_of_the_hub_is_refused(tmp_path: Path) -> None:
    models.save_clip(tmp_path)
    edit(tmp_path / "config.json", attn_implementation="someone/kernel")
    refused(ModelError, REFUSED, load_encoder, f"hf:{tmp_path}")


def load_local(folder: Path) -> None:
    local = LocalModel(folder, ("CLIPImageProcessor", "CLIPModel"), "model", "another")
    with local.use(lambda _, why: ModelError(why)):
        pass


LOADERS = {
    "an encoder": (models.save_clip, lambda folder: load_encoder(f"hf:{folder}")),
    "an embedder": (
        lambda folder: tiny_st.save("clip", folder),
        lambda folder: load_encoder(f"st:{folder}"),
    ),
    "a generator": (models.save_clip, load_local),
    "a detector": (save_owl, lambda folder: load_detector(f"hf:{folder}")),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_no_kernel_of_the_hub_is_used_though_the_environment_allows_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers 5.25 asks the hub for kernels by default, as it moves a network to a device."""
    from transformers import PreTrainedModel

    save, load = LOADERS[kind]
    save(tmp_path / "folder")
    asked: list[Any] = []
    monkeypatch.setenv("USE_HUB_KERNELS", "YES")
    monkeypatch.setattr(
        PreTrainedModel,
        "set_use_kernels",
        lambda _, use, *__, **___: asked.append(use),
        raising=False,
    )
    load(tmp_path / "folder")
    assert os.environ["USE_HUB_KERNELS"] == "NO"
    assert not any(asked)


@pytest.mark.slow
def test_a_model_folder_and_a_library_that_name_it_run_nothing(tmp_path: Path) -> None:
    """Made while the folder was sound, so that everything else about them is right."""
    import vlar

    folder, marker = openclip_folder(tmp_path / "folder"), tmp_path / "marker"
    spec = f"openclip:{folder}"
    clip = videos.make_video(tmp_path / "clip.mp4", 8, fps=4)
    saved = vlar.load(spec).save(tmp_path / "model")
    vlar.Library(tmp_path / "library", spec).add([clip])
    poison(folder, marker)
    changed = "have changed since you named it; nothing of it was opened"
    refused(ModelError, changed, vlar.load, saved)
    asked = "classify", clip, "--labels", "a cat, a dog", "--model"
    for text, arguments in (
        (changed, (*asked, saved)),
        (changed, ("query", tmp_path / "library", "a cat")),
        (changed, ("index", "add", tmp_path / "library", clip)),
        (REFUSED, (*asked, spec)),  # the user names it
        (REFUSED, ("query", tmp_path / "library", "a cat", "--model", spec)),
        (REFUSED, ("models", "trust", spec)),
        (changed, (*asked, saved)),  # what was refused was not named
    ):
        done = vlar_command(*arguments)
        assert (done.returncode, text in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
    assert not marker.exists()


def vlar_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from vlar.apps.cli import main; main()", *map(str, arguments)]
    return subprocess.run(
        command, input="y\n" * 5, capture_output=True, text=True, timeout=120, check=False
    )
