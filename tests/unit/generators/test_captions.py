"""Captions: of files, of models of transformers, and of measured motion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.refusals import refused
from tests.unit.generators.captions.tiny import save_blip
from vlar.encoders.captions import Captioner, load_captioner, one_text
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.generators.captions.concepts import PHRASES, motion_phrases
from vlar.pose.attributes.base import Measurements, attribute_names, attributes
from vlar.types import Clip, Window

ROWS = [
    {"path": "a.mp4", "sentence": "A man lifts a barbell.", "start_s": 0, "end_s": 4},
    {"path": "a.mp4", "sentence": "He puts it down.", "start_s": 4, "end_s": 8},
    {"path": "b.mp4", "sentence": "A dog runs."},
]


def clip(path: Path | str, start_s: float = 0.0, end_s: float = 4.0) -> Clip:
    return Clip(Path(path), Window(start_s, end_s), "video", np.zeros((1, 2, 2, 3), np.uint8),
                np.zeros(1))  # fmt: skip


FORMS = {
    "rows.json": json.dumps(ROWS),
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n",
    "rows.csv": "path,sentence,start_s,end_s\na.mp4,A man lifts a barbell.,0,4\n"
    "a.mp4,He puts it down.,4,8\nb.mp4,A dog runs.,,\n",
    "activitynet.json": json.dumps({"version": "1", "results": {
        "a.mp4": [{"sentence": "A man lifts a barbell.", "timestamp": [0, 4]},
                  {"sentence": "He puts it down.", "timestamp": [4, 8]}],
        "b.mp4": ["A dog runs."]}}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_captions(name: str, tmp_path: Path):
    (tmp_path / name).write_text(FORMS[name])
    (tmp_path / "b.mp4").touch()
    captioner = load_captioner(f"file:{tmp_path / name}")
    found = captioner.caption(
        [clip("x/a.mp4"), clip("a.mp4", 2, 6), clip(tmp_path / "b.mp4"), clip("c.mp4")]
    )
    assert found == [
        ("A man lifts a barbell.",),
        ("A man lifts a barbell.", "He puts it down."),
        ("A dog runs.",),
        (),
    ]
    assert one_text(found[1]) == "A man lifts a barbell. He puts it down."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "row 1: 1 is not an object"),
        ('[{"sentence": "x"}]', "names no recording"),
        ('[{"path": "a"}]', "has no sentence"),
        ('[{"path": "a", "sentence": "x", "start_s": 4, "end_s": 2}]', "ends at 2 s"),
        ('[{"path": "a", "sentence": "x", "start_s": -1}]', "not a number of seconds"),
        ("[]", "holds no caption"),
        ("3", "neither a list"),
        ("{", "not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(content: str, said: str, tmp_path: Path):
    (tmp_path / "c.json").write_text(content)
    refused(UsageError, said, load_captioner, f"file:{tmp_path / 'c.json'}")


def test_names_that_do_not_exist(tmp_path: Path):
    refused(UsageError, "cannot be read", load_captioner, f"file:{tmp_path / 'none.json'}")
    refused(UnknownNameError, "concepts", load_captioner, "concept")
    for spec in ("", "file:", "concepts:x", "hf:", f"hf:{tmp_path}"):
        refused(UsageError, "", load_captioner, spec)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def captioner(folder: Path) -> Captioner:
    return load_captioner(f"hf:{folder}?frames=2&tokens=6")


def noise(seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    return Clip(Path("a.mp4"), Window(0, 1), "video", frames, np.linspace(0, 1, 4))


def test_a_clip_has_a_caption_a_frame(captioner: Captioner):
    (found,) = captioner.caption([noise(0)])
    assert 1 <= len(found) <= 2
    assert all(isinstance(text, str) and text for text in found)
    assert captioner.sampling.n_frames == 2


def test_alone_and_in_company_it_is_the_same(captioner: Captioner):
    together = captioner.caption([noise(0), noise(1)])
    assert [captioner.caption([noise(seed)])[0] for seed in (0, 1)] == together


def test_settings_are_part_of_the_fingerprint(folder: Path, captioner: Captioner):
    other = load_captioner(f"hf:{folder}?frames=1")
    assert other.fingerprint != captioner.fingerprint
    assert load_captioner(captioner.name).fingerprint == captioner.fingerprint


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path):
    refused(UsageError, "frames='0'", load_captioner, f"hf:{folder}?frames=0")
    refused(UnknownNameError, "frames", load_captioner, f"hf:{folder}?frame=2")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused(ModelError, "cannot be loaded", load_captioner(f"hf:{tmp_path}").caption, [noise(0)])


def test_every_phrase_belongs_to_an_attribute():
    names = set(attribute_names())
    assert {name for name, _ in PHRASES} <= names
    assert {pole for _, pole in PHRASES} == {1, -1}


def measured(visible: float = 1.0, **poles: float) -> Measurements:
    rows = attributes()
    values, trust = np.zeros(len(rows)), np.zeros(len(rows))
    for place, row in enumerate(rows):
        if row.name in poles:
            values[place], trust[place] = row.centre + poles[row.name] * row.width, 1.0
    return Measurements(values, trust, visible)


def test_the_strongest_attributes_are_named_first():
    found = motion_phrases(measured(both_arms_up=3.0, kneeling=0.9, airborne=-3.0))
    assert {"raises both arms", "kneels"} == set(found)
    assert "leaves the ground with both feet" not in found
    assert len(motion_phrases(measured(**{name: 3.0 for name, _ in PHRASES}))) == 4


def test_nobody_does_nothing():
    assert motion_phrases(measured()) == []
    assert motion_phrases(measured(visible=0.0, both_arms_up=3.0)) == []
