"""The commands of README and docs/classify.md on the demo's clips, by their answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from vlar.pose import networks

SHOWN = re.compile(
    r'vlar classify clip.mp4 --labels "([^"]+)"\n(?:[^`]*?)```\s+'
    r"```text\n([^\n]+  clip\.mp4  .*?)```",
    re.S,
)
FIGURE = re.compile(r"^ +([\d.]+)%  (.+)$", re.M)


@pytest.fixture(scope="module")
def kept(vlar_command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three clips as ``vlar demo --keep`` leaves them, and a library of them."""
    folder = tmp_path_factory.mktemp("kept")
    done = vlar_command("demo", "--keep", folder / "clips", "--library", folder / "demo.vlar")
    assert done.code == 0
    assert f"3 clips are in {folder / 'clips'}" in done.err
    names = sorted(path.name for path in (folder / "clips").iterdir())
    assert names == ["bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"]
    return folder


def test_a_list_is_answered_with_what_is_there(vlar_command, kept: Path):
    labels = "riding a bike, cooking, playing the piano"
    done = vlar_command("classify", kept / "clips" / "bikes.mp4", "--labels", labels)
    assert done.out.startswith("riding a bike, ")


@pytest.mark.parametrize(
    ("clip", "label", "answers"),
    [
        ("bikes", "riding a bike", {"yes", "unsure"}),
        ("bikes", "street traffic", {"yes"}),
        ("bikes", "a man talking", {"no"}),
        ("carphone_pristine", "riding a bike", {"no"}),
        ("bigbuckbunny", "a cartoon animal", {"yes"}),
        ("bigbuckbunny", "a man talking", {"no"}),
    ],
)
def test_one_label_alone_is_not_denied(vlar_command, kept: Path, clip, label, answers):
    (row,) = vlar_command(
        "classify", kept / "clips" / f"{clip}.mp4", "--labels", label, "--json"
    ).rows
    assert row["verdict"] in answers


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("people on bicycles", "bikes"),
        ("bicycles in street traffic", "bikes"),
        ("a cartoon animal", "bigbuckbunny"),
    ],
)
def test_what_a_library_shows_is_found_and_not_called_weak(vlar_command, kept: Path, text, clip):
    done = vlar_command("query", kept / "demo.vlar", text, "-k", "1")
    assert f"{clip}.mp4" in done.out
    assert "weak" not in done.err
    (row,) = vlar_command("query", kept / "demo.vlar", text, "-k", "1", "--json").rows
    assert "weak" not in row


def test_a_folder_that_cannot_be_made_is_one_sentence(vlar_command, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    done = vlar_command("demo", "--keep", file / "clips")
    assert done.code == 2
    assert "cannot be copied there" in done.advice


def test_the_figures_below_a_command_are_those_that_it_prints(vlar_command, kept: Path):
    """README's with the networks for bodies, which its first command fetches; else the page's."""
    page = "README.md" if networks.is_installed() else "docs/classify.md"
    found = SHOWN.search((ROOT / page).read_text("utf-8"))
    assert found is not None
    done = vlar_command("classify", kept / "clips" / "bikes.mp4", "--labels", found[1])
    stated, printed = (
        {label: float(share) for share, label in FIGURE.findall(text)}
        for text in (found[2], done.out)
    )
    truth = done.out.replace(str(kept / "clips" / "bikes.mp4"), "clip.mp4")
    assert len(stated) == len(found[1].split(",")) + 1
    assert stated == pytest.approx(printed, abs=1.0), f"{page} should print:\n{truth}"
