"""The command line on an accelerator without hardware: what a person with a GPU types first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import invoke
from tests.fake_device import DEVICE, Counts, fake_device
from tests.unit.encoders.test_device import OPENCLIP, save
from vlar.testing.trainables import support_of_videos


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = support_of_videos(tmp_path_factory.mktemp("videos") / "support")
    (folder / "red bar" / "broken.mp4").unlink()
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    save(OPENCLIP["vit"], folder)
    return f"openclip:{folder}"


@pytest.fixture(autouse=True)
def device() -> Iterator[Counts]:
    with fake_device(usual=False) as counts:
        yield counts


def run(*words: object, device: str = DEVICE) -> list[dict]:
    done = invoke([str(word) for word in (*words, "--device", device, "--json")])
    assert done.exit_code == 0, done.output[-500:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("tower", ["siglip", "mobileclip2"])
def test_classify_in_bf16_on_a_device(tower: str, videos: Path, tmp_path: Path) -> None:
    save(OPENCLIP[tower], tmp_path)
    asked = (videos / "red bar" / "0.mp4", "--labels", "a, b", "--model", f"openclip:{tmp_path}")
    one, other = (
        run("classify", *asked, "--dtype", "bf16", device=device)[0]["predictions"]
        for device in (DEVICE, "cpu")
    )
    for mine, theirs in zip(one, other, strict=True):
        assert mine["label"] == theirs["label"]
        assert abs(mine["probability"] - theirs["probability"]) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "tc-clip", "temporal", "lora"])
def test_adapt_and_classify_on_a_device(
    method: str, videos: Path, clip: str, tmp_path: Path, device: Counts
) -> None:
    model = tmp_path / "mine"
    short = () if method == "auto" else ("--set", "epochs=1")
    run("adapt", videos, "--out", model, "--method", method, "--model", clip, *short)
    assert device.to_device > 0
    one = run("classify", videos / "red bar" / "0.mp4", "--model", model)
    other = run("classify", videos / "red bar" / "0.mp4", "--model", model, device="cpu")
    for mine, theirs in zip(one[0]["predictions"], other[0]["predictions"], strict=True):
        assert abs(mine["probability"] - theirs["probability"]) < 1e-3


def test_a_library_made_on_a_device_answers_on_the_cpu(
    videos: Path, clip: str, tmp_path: Path
) -> None:
    run("index", "add", tmp_path / "library", videos, "--model", clip)
    one, other = (
        run("query", tmp_path / "library", "red bar", "--min-probability", 0, device=place)
        for place in (DEVICE, "cpu")
    )
    paths = [row["path"] for row in one if "path" in row]
    assert len(paths) == 4
    assert paths == [row["path"] for row in other if "path" in row]
