"""The card of a model: what stands in it, where it comes from, and what it must not do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import invoke
from vlar.errors import ModelError
from vlar.model.card import FILE, catalogue_card, folder_card, model_card
from vlar.model.folder import MANIFEST, read_manifest

FORMAT_3 = Path(__file__).parents[2] / "fixtures" / "format_3"
CHOSEN = {
    "head": "ridge", "kind": "mean", "parameter": 1.0, "loss": 0.1, "accuracy": 0.9, "share": 1.0,
}  # fmt: skip
MANIFEST_NOW: dict[str, Any] = {
    "format": 3,
    "vlar": "0.1.0",
    "created": "2026-01-01T00:00:00+00:00",
    "encoder": {
        "spec": "lite", "fingerprint": "f" * 64, "dim": 8, "frames": 16, "licence": "Apache-2.0",
    },
    "adapter": None,
    "inner": [],
    "templates": "action",
    "labels": ["run", "sit | down"],
    "head": {"head": "ridge"},
    "rejector": {"rejector": "familiarity"},
    "calibration": {"slope": 1.25},
    "files_sha256": {"adaptation.safetensors": "a" * 64},
    "report": {
        "examples": {"run": 6, "sit | down": 4},
        "failed": [],
        "chosen": CHOSEN,
        "candidates": [CHOSEN],
        "why": "it is the only one",
        "confusions": [{"truth": "run", "answer": "sit | down", "count": 1, "of": 6}],
        "tested": 9,
        "source": "support",
        "groups": 5,
    },
}  # fmt: skip


def read_card(folder: Path) -> str:
    return folder_card(folder, read_manifest(folder)[0].model_dump())


def test_it_states_data_figures_with_interval_and_control_limits_licences_and_versions():
    text = model_card(MANIFEST_NOW, "mine")
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["Data", "Figures", "Calibration", "Limits", "Licences", "Versions"]
    assert "- 10 examples of 2 labels\n- source: `support`" in text
    assert "- 5 groups (recordings or people)" in text
    assert "| run | 6 |\n| sit \\| down | 4 |" in text
    # 8 of 9: the exact interval of Clopper and Pearson is 51.8 % to 99.7 %.
    assert "| 89 % (8 of 9) | 52 % to 100 % | 60 %: always the most frequent label |" in text
    assert "- run is taken for sit \\| down, 1 of 6" in text
    assert "slope 1.25" in text
    assert "rejector `familiarity`" in text
    assert "- A clip is read at 16 moments" in text
    assert "- encoder `lite`: Apache-2.0" in text
    assert "- vlar: 0.1.0, format 3, saved 2026-01-01T00:00:00+00:00" in text
    assert f"SHA-256 `{'a' * 64}`" in text


def test_a_mean_over_folds_gets_no_count_and_no_interval():
    """A folder of an earlier version has no count: a share times the examples would invent one."""
    report = {key: value for key, value in MANIFEST_NOW["report"].items() if key != "tested"}
    text = model_card({**MANIFEST_NOW, "report": report}, "mine")
    assert "| 90 %, the mean over folds | none: not counted | 60 %: always" in text
    assert "of 10" not in text


def test_no_figure_stands_where_none_was_measured():
    candidates = [{**CHOSEN, "accuracy": None}]
    seen = {**MANIFEST_NOW["report"], "tested": 0, "seen": 3, "candidates": candidates}
    seen["chosen"] = seen["candidates"][0]
    text = model_card({**MANIFEST_NOW, "report": seen, "calibration": None}, "mine")
    assert "None: no example was held out; it had learned from some" in text
    assert "of the head itself" in text
    zero_shot = dict.fromkeys(("labels", "head", "rejector", "calibration", "report"))
    text = model_card({**MANIFEST_NOW, **zero_shot, "files_sha256": {}}, "plain")
    assert "It answers about any label list." in text
    assert "It learned from no examples" in text
    assert "accuracy" not in text


def test_what_others_wrote_does_not_act_and_stays_short():
    report = {**MANIFEST_NOW["report"], "examples": {f"label {n}": 1 for n in range(5000)}}
    text = model_card({**MANIFEST_NOW, "report": report}, "mine\x1b[2J")
    assert "\x1b" not in text
    assert "| and 4900 more | |" in text
    assert len(text) < 10_000


def test_a_saved_model_has_it_and_the_command_prints_it(tmp_path: Path, lite_model):
    folder = lite_model.save(tmp_path / "plain")
    text = (folder / FILE).read_text("utf-8")
    assert text.startswith("# plain\n")
    assert read_card(folder) == text
    for words in (f"models {folder} --card", f"models --card {folder}"):
        done = invoke(words.split())
        assert done.exit_code == 0, done.stderr
        assert done.stdout == text
    done = invoke(["models", str(folder), "--card", "--json"])
    assert json.loads(done.stdout) == {"model": str(folder), "card": text}
    (folder / FILE).write_text("# plain\nhello \x1b[2J\n")
    assert "\x1b" not in invoke(["models", str(folder), "--card"]).stdout


def test_a_folder_of_an_earlier_version_gets_one_from_its_manifest(tmp_path: Path):
    with zipfile.ZipFile(sorted(FORMAT_3.glob("models_*.zip"))[0]) as archive:
        archive.extractall(tmp_path)
    folders = [path.parent for path in sorted(tmp_path.glob(f"*/{MANIFEST}"))]
    assert folders
    for folder in folders:
        assert not (folder / FILE).exists()
        text = read_card(folder)
        assert text.startswith(f"# {folder.name}\n")
        assert "## Licences" in text


def test_aliases_have_a_card_and_unknown_names_are_refused(tmp_path: Path):
    done = invoke(["models", "lite", "--card"])
    assert done.exit_code == 0
    assert "- weights: Apache-2.0, MIT" in done.stdout
    assert "It must not decide alone about people" in done.stdout
    done = invoke(["models", "lite-moton", "--card"])
    assert done.exit_code == 2
    assert "lite-moton" in done.stderr
    done = invoke(["models", f"{tmp_path}/", "--card"])
    assert done.exit_code == 2
    assert "holds no model" in done.stderr


def test_a_card_that_is_a_link_or_too_long_is_refused(tmp_path: Path):
    (tmp_path / FILE).symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match=r"card\.md cannot be read"):
        folder_card(tmp_path, MANIFEST_NOW)


def test_published_figures_stand_with_their_protocol():
    entry = {
        "alias": "some", "purpose": "frames", "spec": "openclip:A", "licence": "MIT",
        "parameters_m": 3, "download_mb": 4, "non_commercial": True,
        "figures": {"zero-shot": {"what": "K400", "source": "its paper", "top1": 61.5}},
    }  # fmt: skip
    text = catalogue_card(entry)
    assert "| K400 | top1 61.5 | its paper |" in text
    assert "- weights: MIT; not for commercial use" in text
