"""Labels: read from lists and files, bounded, and named once in other languages."""

from __future__ import annotations

import json
import logging
import os
import string
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import vlar
from tests.refusals import refused
from vlar.errors import LabelError, ModelError, UnknownNameError, UsageError
from vlar.files import resources
from vlar.language.bank import load_bank
from vlar.language.clean import MOST_CHARACTERS, MOST_LABELS, clean_label
from vlar.language.labels import LabelList, LabelSet, foreign_labels, parse_labels
from vlar.language.prompts import check_template_set, load_templates
from vlar.language.tree import Tree
from vlar.methods.ez_clip.network import EzClipConfig
from vlar.methods.full_finetune.blocks import TunedConfig


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"), ("brush_hair", "brush hair"),
        ("Brush_Hair", "brush hair"), ("BRUSH_HAIR", "brush hair"), ("YoYo", "yo yo"),
        ("TaiChi", "tai chi"), ("HandstandPushups", "handstand pushups"),
        ("brushHair", "brush hair"), ("PlayTVGame", "play TV game"),
        ("v_CleanAndJerk", "clean and jerk"),
        ("Bending something so that it deforms", "bending something so that it deforms"),
        ("Pushing [something] off of [something]", "pushing something off of something"),
        ("[something] falling like a rock", "something falling like a rock"),
        ("A person walking", "a person walking"), ("  brush \t hair\n", "brush hair"),
        ("__label__", "label"), ("Basketball", "basketball"),
    ],
)  # fmt: skip
def test_names_become_what_a_person_would_type(given_name: str, expected: str):
    assert clean_label(given_name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "riding a bike", "TV", "DJ", "DJing", "3D", "iPhone", "watching TV", "T-shirt folding",
        "push-ups", "don't stop!", "rock, paper & scissors", "跑步", "自転車に乗る", "🚴 cycling",
        "👨\u200d👩\u200d👧 family", "نوشتن می\u200cکند", "faire du vélo", "[1] first",
        "a {curly} label",
    ],
)  # fmt: skip
def test_ordinary_text_stays(text: str):
    assert clean_label(text) == text


@given(st.text(max_size=60))
@example("[[A]]")
@example("[push [something] over]")
def test_cleaning_twice_changes_nothing(text: str):
    once = clean_label(text)
    assert clean_label(once) == once


@given(st.text(alphabet=string.ascii_letters + "_[] ", max_size=40))
def test_cleaning_names_twice_changes_nothing_and_keeps_the_letters(text: str):
    once = clean_label(text)
    assert clean_label(once) == once
    letters = [c.lower() for c in text if c.isalpha()]
    kept = [c.lower() for c in once if c.isalpha()]
    assert kept == letters[len(letters) - len(kept) :]
    assert set(letters[: len(letters) - len(kept)]) <= {"v"}


def test_control_characters_and_lone_surrogates_do_not_reach_a_tokenizer():
    assert clean_label("run\x00fast\ud800") == "run fast"


def test_a_string_is_split_at_commas_outside_quotes():
    labels = parse_labels('run, "rock, paper, scissors" ,  jump,')
    assert labels.labels == ("run", "rock, paper, scissors", "jump")


@pytest.mark.parametrize("spec", ["跑步，走路", "跑步、走路", "跑步\n走路"])
def test_other_separators(spec: str):
    assert parse_labels(spec).labels == ("跑步", "走路")


def test_labels_are_kept_as_given_and_texts_are_cleaned():
    labels = parse_labels("ApplyEyeMakeup, YoYo")
    assert labels.labels == ("ApplyEyeMakeup", "YoYo")
    assert labels.texts == ("apply eye makeup", "yo yo")


def test_duplicates_are_left_out_with_a_note_that_names_them():
    labels = parse_labels("brush_hair, run, Brush  Hair, RUN, jump")
    assert labels.labels == ("brush_hair", "run", "jump")
    assert len(labels.notes) == 1
    assert "'Brush  Hair'" in labels.notes[0]
    assert "'RUN'" in labels.notes[0]
    assert not parse_labels("run, jump").notes


def test_no_label_is_an_error():
    for spec in ["", "  ", ",,", [], ["", " "]]:
        refused(LabelError, "no label", parse_labels, spec)


def test_sizes_a_user_may_bring():
    assert parse_labels("run").labels == ("run",)
    assert len(parse_labels([f"label number {i}" for i in range(10_000)])) == 10_000
    assert parse_labels("x" * 2000).texts == ("x" * 2000,)
    assert parse_labels("/" * 2000).texts == ("/" * 2000,)


def test_integers_as_labels_are_strings():
    assert parse_labels([1, 2]).labels == ("1", "2")  # type: ignore[list-item]
    with pytest.raises(LabelError, match="entry 2 is None"):
        parse_labels(["run", None])  # type: ignore[list-item]


def test_a_label_list_passes_through():
    labels = parse_labels("run, jump")
    assert parse_labels(labels) is labels


def test_the_hash_speaks_of_texts_and_their_order():
    assert parse_labels("YoYo, run").sha256 == parse_labels(["yo yo", "run"]).sha256
    assert parse_labels("run, yo yo").sha256 != parse_labels("yo yo, run").sha256


def test_text_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b'\xef\xbb\xbf# mine\r\nrun\r\n\r\nC# coding\r\n"a, b"\r\nrock, paper\r\n')
    for spec in (path, str(path)):
        labels = parse_labels(spec)
        assert labels.labels == ("run", "C# coding", "a, b", "rock, paper")
        assert labels.source == str(path)


def test_text_file_saved_as_utf_16(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("run\n跑步\n", encoding="utf-16")
    assert parse_labels(path).labels == ("run", "跑步")


def test_a_numbering_in_a_text_file_is_no_part_of_the_labels(tmp_path):
    path = tmp_path / "classInd.txt"
    path.write_text("1 ApplyEyeMakeup\n2 YoYo\n")
    labels = parse_labels(path)
    assert labels.labels == ("ApplyEyeMakeup", "YoYo")
    assert "numbering" in labels.notes[0]
    path.write_text("3 steps forward\n2 steps back\n")
    assert parse_labels(path).labels == ("3 steps forward", "2 steps back")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_file(tmp_path, delimiter: str):
    path = tmp_path / "support.csv"
    rows = [["path", "Label"], ["a.mp4", "run"], ["b.mp4", "jump"], ["c.mp4", "run"]]
    path.write_text("\r\n".join(delimiter.join(row) for row in rows), newline="")
    assert parse_labels(path).labels == ("run", "jump")


def test_csv_with_a_comma_in_a_label(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('label\n"rock, paper"\nrun\n')
    assert parse_labels(path).labels == ("rock, paper", "run")


def test_csv_without_the_column(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,action\n0,run\n")
    refused(LabelError, r"no column 'label'.*'id', 'action'", parse_labels, path)


def test_json_files(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(["run", "跑步", 3]))
    assert parse_labels(path).labels == ("run", "跑步", "3")
    path.write_text('{"run": 1}')
    refused(LabelError, "neither a list of labels, nor a bank", parse_labels, path)
    path.write_text("[run")
    refused(LabelError, "not valid JSON", parse_labels, path)


def test_a_file_that_does_not_exist():
    for spec in ["missing.txt", "folder/missing.csv", "missing.JSON"]:
        refused(LabelError, "does not exist", parse_labels, spec)


def test_a_comma_list_is_no_file_name():
    assert parse_labels("reading a.txt, writing b.txt").labels == ("reading a.txt", "writing b.txt")


def test_unreadable_files(tmp_path):
    (tmp_path / "binary.txt").write_bytes(b"run\n\xff\x00\x81")
    refused(LabelError, "not UTF-8 text", parse_labels, tmp_path / "binary.txt")
    refused(LabelError, "cannot be read", parse_labels, tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    refused(LabelError, "no label", parse_labels, tmp_path / "empty.txt")


def test_banks_by_name_and_by_file(tmp_path):
    labels = parse_labels("bank:everyday_actions")
    assert len(labels) > 500
    assert labels.source == "bank:everyday_actions"
    with pytest.raises(UnknownNameError, match="did you mean 'everyday_actions'"):
        parse_labels("bank:everyday_action")
    bank = {
        "format": 1,
        "name": "mine",
        "licence": "CC0",
        "provenance": {"source": "me"},
        "entries": [{"label": "WalkDog", "text": "taking the dog out"}, {"label": "YoYo"}],
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(bank))
    for spec in (path, str(path), f"bank:{path}"):
        assert parse_labels(spec) == LabelList(
            labels=("walk dog", "yo yo"),
            texts=("taking the dog out", "yo yo"),
            keys=("WalkDog", "YoYo"),
            source="bank:mine",
        )


def test_bank_labels_are_readable_and_keep_their_key():
    listed = parse_labels("bank:ucf101")
    place = listed.keys.index("PlayingGuitar")
    assert listed.labels[place] == "playing guitar"
    known = ("PlayingGuitar", "archery")
    spelled = listed.spelled_as(known)
    assert spelled[place] == "PlayingGuitar"
    assert "archery" in spelled
    given = parse_labels("PlayingGuitar, run")
    assert given.labels == given.keys == ("PlayingGuitar", "run")


def test_labels_in_parts(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("verb,object\nopen,door\nwalk,\nOpen, Door\n")
    listed = parse_labels(table)
    assert listed.labels == ("open door", "walk")
    assert listed.parts == ({"verb": "open", "object": "door"}, {"verb": "walk"})
    table.write_text("label,verb,object\nopening the door,open,door\n")
    listed = parse_labels(table)
    assert listed.labels == ("opening the door",)
    assert listed.parts == ({"verb": "open", "object": "door"},)
    assert parse_labels("open door, walk").parts == ()
    bank = {
        "format": 1,
        "name": "mine",
        "licence": "CC0",
        "provenance": {"source": "me"},
        "entries": [
            {"label": "OpenDoor", "parts": {"verb": "open", "object": "door"}},
            {"label": "walk"},
        ],
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(bank))
    assert parse_labels(path).parts == ({"verb": "open", "object": "door"}, {})
    bank["entries"][0]["parts"]["verv"] = "open"
    path.write_text(json.dumps(bank))
    refused(LabelError, r"parts\.verv", parse_labels, path)


def test_a_set_of_labels_is_read_once_with_its_tree(tmp_path):
    (tmp_path / "tree.json").write_text('{"run": "moving", "sit": "still"}')
    asked = LabelSet.read("run, sit", "one", "none", tmp_path / "tree.json")
    assert asked.listed is not None
    assert asked.listed.labels == ("run", "sit")
    assert isinstance(asked.tree, Tree)
    assert LabelSet.read(asked.listed, tree=asked.tree).listed is asked.listed
    assert LabelSet.read() == LabelSet()
    refused(LabelError, "not a file", LabelSet.read, "run", tree=tmp_path / "none.json")


BANKS = resources.names("text_banks", ".json")


FOREIGN = {
    "German": "Gitarre spielen, Fahrrad fahren, eine Tür öffnen, sich setzen, laufen",
    "French": "jouer de la guitare, faire du vélo, ouvrir une porte, s'asseoir, courir",
    "Spanish": "tocar la guitarra, montar en bicicleta, abrir la puerta, sentarse, correr",
    "Italian": "suonare la chitarra, andare in bicicletta, aprire la porta, correre",
    "Portuguese": "tocar violão, andar de bicicleta, abrir a porta, pular",
    "Dutch": "gitaar spelen, fietsen, een deur openen, zwemmen",
    "Chinese": "弹吉他, 骑自行车, 开门",
    "Japanese": "ギターを弾く, 走る",
    "Russian": "играть на гитаре, бегать",
    "Arabic": "ركوب الدراجة",
}


@pytest.mark.parametrize("bank", BANKS)
def test_no_label_of_a_bank_is_flagged(bank: str):
    entries = load_bank(bank).entries
    texts = [entry.text for entry in entries]
    assert [texts[place] for place in foreign_labels(texts)] == []
    names = [*texts, *(alias for entry in entries for alias in entry.aliases)]
    assert [name for name in names if foreign_labels([name])] == []


@pytest.mark.parametrize("language", FOREIGN)
def test_labels_of_another_language_are_flagged(language: str):
    texts = [clean_label(label) for label in FOREIGN[language].split(", ")]
    assert foreign_labels(texts) == list(range(len(texts)))
    assert all(foreign_labels([text]) == [0] for text in texts)


@pytest.mark.parametrize(
    "labels",
    [
        "frobnicate", "frobnicating", "quantum chromodynamics", "running, frobnicate, jumping",
        "cooking crème brûlée", "café", "tai chi, capoeira, yoga", "A1, A2, A3", "DJ, TV, UFO",
        "ski, skate, surf", "Anna, Tom",
    ],
)  # fmt: skip
def test_rare_words_names_and_loan_words_are_not_flagged(labels: str):
    assert foreign_labels([clean_label(label) for label in labels.split(", ")]) == []


def test_one_foreign_label_among_english_ones_is_named():
    assert foreign_labels(["running", "gitarre spielen", "open the door"]) == [1]


def test_a_list_of_unknown_words_is_flagged():
    assert foreign_labels(["hoppeln", "rudern", "klettern"]) == [0, 1, 2]


def test_the_warning_comes_once_for_a_list(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        parse_labels("Seil springen, 跳绳, jumping rope")
        parse_labels("Seil springen, 跳绳, jumping rope")
    assert len(caplog.messages) == 1
    assert "'seil springen', '跳绳'" in caplog.messages[0]
    assert "jumping rope" not in caplog.messages[0]
    assert "translate" in caplog.messages[0]


def test_english_lists_and_banks_give_no_warning(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "vlar"):
        parse_labels("playing guitar, riding a bike, opening a door")
        parse_labels("bank:ucf101")
    assert caplog.messages == []


def test_the_longest_label_and_one_character_more() -> None:
    assert len(parse_labels(["x" * MOST_CHARACTERS, "run"])) == 2
    with pytest.raises(LabelError, match=r"label 2 .*4,001 characters.*shorten it"):
        parse_labels(["run", "x" * (MOST_CHARACTERS + 1)])


def test_too_many_labels_are_refused_at_once() -> None:
    started = time.process_time()
    with pytest.raises(LabelError, match=r"100,001 labels.*split the list"):
        parse_labels([f"l{i}" for i in range(MOST_LABELS + 1)])
    assert time.process_time() - started < 2


def test_a_device_is_not_a_label():
    for spec in ["/dev/zero", "/dev/null"]:
        refused(LabelError, "it is a device, not a file", parse_labels, spec)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels")
    for spec in (str(tmp_path / "labels"), tmp_path / "labels"):
        refused(LabelError, "a named pipe", parse_labels, spec)


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


def test_settings_name_a_template_set_and_never_a_path():
    for name in ["/etc/passwd", "../../etc/passwd", "plain.txt", "", "nowhere"]:
        refused(ModelError, "not a template set", check_template_set, name, "it")
        for config in (EzClipConfig, TunedConfig):
            field = "templates" if config is EzClipConfig else "prompts"
            refused(ModelError, "not a template set", config.from_dict, {field: name})


def test_settings_with_sound_template_sets() -> None:
    assert EzClipConfig.from_dict({"templates": "video"}).templates == "video"
    assert TunedConfig.from_dict({"prompts": "froster"}).prompts == "froster"
    assert TunedConfig.from_dict({"prompts": "plain"}).prompts == "plain"


def test_a_model_with_templates_of_a_file_works_and_is_not_saved(tmp_path: Path) -> None:
    import tests.fixtures.models_1.tiny  # noqa: F401 - registers the encoder
    from vlar.encoders.base import load_encoder

    (tmp_path / "mine.txt").write_text("my {}\n")
    model = vlar.Model(load_encoder("tiny-for-fixtures"), templates=str(tmp_path / "mine.txt"))
    assert model.words.prompts == ("my {}",)
    refused(ModelError, "cannot name", model.save, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("line", ["{}\x1b[2J", "x" * 2_000 + "{}"])
def test_a_template_is_one_printable_line(tmp_path: Path, line: Any) -> None:
    (tmp_path / "t.txt").write_text(line)
    refused(UsageError, "template", load_templates, tmp_path / "t.txt")


@pytest.mark.parametrize("labels", [b"a, b", 7, None])
def test_what_is_neither_a_text_nor_a_list_is_refused_in_a_sentence(labels: object):
    refused(LabelError, f"cannot read a {type(labels).__name__} as labels", parse_labels, labels)
