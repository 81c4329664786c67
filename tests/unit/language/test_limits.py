"""Label lists and template sets of others: bounded, printable, and never a device."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import vlar
from vlar.errors import LabelError, ModelError, UsageError
from vlar.language.clean import MOST_CHARACTERS, MOST_LABELS
from vlar.language.labels import parse_labels
from vlar.language.prompts import check_template_set, load_templates
from vlar.methods.ez_clip.network import EzClipConfig
from vlar.methods.full_finetune.blocks import TunedConfig


def test_the_longest_label_and_one_character_more() -> None:
    assert len(parse_labels(["x" * MOST_CHARACTERS, "run"])) == 2
    with pytest.raises(LabelError, match=r"label 2 .*4,001 characters.*shorten it"):
        parse_labels(["run", "x" * (MOST_CHARACTERS + 1)])


def test_too_many_labels_are_refused_at_once() -> None:
    started = time.process_time()
    with pytest.raises(LabelError, match=r"100,001 labels.*split the list"):
        parse_labels([f"l{i}" for i in range(MOST_LABELS + 1)])
    assert time.process_time() - started < 2


@pytest.mark.parametrize("spec", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_a_label(spec: str) -> None:
    with pytest.raises(LabelError, match="it is a device, not a file"):
        parse_labels(spec)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels")
    for spec in (str(tmp_path / "labels"), tmp_path / "labels"):
        with pytest.raises(LabelError, match="a named pipe"):
            parse_labels(spec)


def test_a_label_may_be_called_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "running").mkdir()
    assert parse_labels("running").labels == ("running",)
    assert parse_labels("/" * 50).labels == ("/" * 50,)


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\ud800", "\u202e", "\x9b"])
def test_labels_are_printable(character: str, tmp_path: Path) -> None:
    text = f"ru{character}n"
    (tmp_path / "l.json").write_text(json.dumps([text, "walk"]))
    for spec in ([text, "walk"], tmp_path / "l.json"):
        found = parse_labels(spec)
        assert found.labels == found.keys == ("ru n", "walk")
    "".join(found.labels).encode()


def test_other_scripts_and_joined_emoji_stay() -> None:
    labels = ("👨\u200d👩\u200d👧 family", "跳舞", "نوشتن می\u200cکند", "faire du vélo")
    assert parse_labels(labels).labels == labels


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc/passwd", "plain.txt", "", "nowhere"])
def test_settings_name_a_template_set_and_never_a_path(name: str) -> None:
    with pytest.raises(ModelError, match="not a template set"):
        check_template_set(name, "it")
    for config in (EzClipConfig, TunedConfig):
        field = "templates" if config is EzClipConfig else "prompts"
        with pytest.raises(ModelError, match="not a template set"):
            config.from_dict({field: name})


def test_settings_with_sound_template_sets() -> None:
    assert EzClipConfig.from_dict({"templates": "video"}).templates == "video"
    assert TunedConfig.from_dict({"prompts": "froster"}).prompts == "froster"
    assert TunedConfig.from_dict({"prompts": "plain"}).prompts == "plain"


def test_a_model_with_templates_of_a_file_works_and_is_not_saved(tmp_path: Path) -> None:
    import tests.fixtures.models_1.tiny  # noqa: F401 - registers the encoder
    from vlar.encoders.base import load_encoder

    (tmp_path / "mine.txt").write_text("my {}\n")
    model = vlar.Model(load_encoder("tiny-for-fixtures"), templates=str(tmp_path / "mine.txt"))
    assert model.prompts == ("my {}",)
    with pytest.raises(ModelError, match="cannot name"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("line", ["{}\x1b[2J", "x" * 2_000 + "{}"])
def test_a_template_is_one_printable_line(tmp_path: Path, line: Any) -> None:
    (tmp_path / "t.txt").write_text(line)
    with pytest.raises(UsageError, match="template"):
        load_templates(tmp_path / "t.txt")
