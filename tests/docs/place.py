"""The folder in which the commands and snippets of the pages run: small files for every name."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests import videos
from tests.docs.pages import ROOT
from vlar.media.lookup import reader

LABELS = ("left", "right", "still")
CARD = 'name = "checked, zero-shot"\nprotocol = "zero-shot"\n\n[data]\nfolder = "checked"\n'


def _clip(path: Path) -> None:
    videos.make_video(path, n_frames=50)


def _labelled(seed: int) -> Callable[[Path], None]:
    """A folder with one folder of two clips a label."""

    def make(folder: Path) -> None:
        for number, label in enumerate(LABELS):
            (folder / label).mkdir(parents=True)
            for i in range(2):
                look = seed + 10 * number + i
                videos.make_video(
                    folder / label / f"{i}.mp4", 4, picture=lambda _, s=look: videos.noise(s)
                )

    return make


def _table(
    folder: str, names: tuple[str, ...] = LABELS, more: str = "", cells: tuple[str, ...] = ("", "")
) -> Callable[[Path], None]:
    """A CSV of the clips of a labelled folder, whose labels it may call by other names."""

    def make(path: Path) -> None:
        named = zip(LABELS, names, strict=True)
        rows = [
            f"{folder}/{label}/{i}.mp4,{name}{cells[i]}" for label, name in named for i in range(2)
        ]
        path.write_text("\n".join([f"path,label{more}", *rows, ""]))

    return make


def _text(text: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(text)

    return make


def _moments(path: Path) -> None:
    """A table of recordings of several sensors."""
    wrist = reader("imu").example(path.parent)
    path.write_text(f"path.video,path.imu,label\nclip.mp4,{wrist.name},left\n")


def _pairs(path: Path) -> None:
    """A table of what a camera and a wrist recorded, as few as teach a link."""
    wrist = reader("imu").example(path.parent)
    rows = [f"{name},{wrist.name}" for name in ("clip.mp4", "other.mp4") for _ in range(4)]
    path.write_text("\n".join(["path.video,path.imu", *rows, ""]))


def _wrist(path: Path) -> None:
    shutil.copy(reader("imu").example(path.parent), path)


# Every name that a page or a help text uses, and what lies there.
FILES: dict[str, Callable[[Path], None]] = {
    "clip.mp4": _clip,
    "my clip.mp4": _clip,
    "other.mp4": _clip,
    "work.mp4": _clip,
    "videos/2023/a.mp4": _clip,
    "videos/cooking/b.mp4": _clip,
    "labels.txt": _text("dancing\ntalking\n"),
    "tree.json": _text('{"left": "moving", "right": "moving"}'),
    "support": _labelled(0),
    "checked": _labelled(100),
    "labelled": _labelled(100),
    "more": _labelled(200),
    "support.csv": _table("support"),
    "checked.csv": _table("checked"),
    "lit.csv": _table("checked", LABELS, ",light", (",day", ",night")),
    "labelled.csv": _table("labelled"),
    "people.csv": _table("support", LABELS, ",subject", (",ann", ",bob")),
    "places.csv": _table("support", LABELS, ",domain", (",ward", ",hall")),
    "photo.jpg": lambda path: Image.fromarray(videos.noise(5)).save(path),
    "rows.csv": _moments,
    "takes.csv": _moments,
    "wrist.csv": _wrist,
    "pairs.csv": _pairs,
    "answers.csv": _text("path,label\nclip.mp4,left\n"),
    "table.csv": _table("labelled", ("biking", "diving", "archery")),  # labels of bank:ucf101
    "ann.csv": _text("recording,start_s,end_s,label\na,0,4,run\na,6,8,sit\n"),
    "bo.csv": _text("recording,start_s,end_s,label\na,0,3.5,run\na,6,8,sit\n"),
    "sets/checked": _labelled(100),
    "UCF101/train": _labelled(0),
    "UCF101/test": _labelled(100),
    "BEAR/none": _text(""),
    "card.toml": _text(CARD),
    "evals": lambda path: path.symlink_to(ROOT / "evals"),
}
# Names whose content a command makes, in this order.
MADE = {
    "holiday.vlar": (
        "vlar index add holiday.vlar other.mp4 videos",
        "vlar index add holiday.vlar clip.mp4 --tag year=2024",
    ),
    "holiday.parquet": ("vlar index export holiday.vlar holiday.parquet",),
    "shards": ("vlar index add holiday.vlar work.mp4 --shards shards",),
    "today.vlar": ("vlar index add today.vlar other.mp4",),
    "mine": ("vlar adapt support --out mine",),
    "calibrated": ("vlar calibrate checked --out calibrated",),
    "downloads/model": ("cp -r mine downloads/model",),
    "bank.json": ("vlar describe dancing,talking --out bank.json --llm offline",),
    "run.json": ("vlar eval zero-shot --data checked --no-controls --out run.json",),
    "other.json": ("cp run.json other.json",),
}


def make(folder: Path) -> Path:
    """Fill a folder with every file of the tables."""
    for name, write in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name)
    for name, commands in MADE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for command in commands:
            done = shell(command, folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    return folder


def copy(place: Path, folder: Path, texts: list[str]) -> Path:
    """The folder again, without what the texts make themselves."""
    shutil.copytree(place, folder, symlinks=True)
    for name in made_by(texts):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def made_by(texts: list[str]) -> set[str]:
    """The names of the table ``MADE`` that commands or snippets make."""
    found = re.findall(r"--out (\S+)|(?:-o|index add) (\S+)|save\(\"(\S+?)\"", "\n".join(texts))
    return {name for names in found for name in names if name in MADE}


BASH = ("bash", "-euo", "pipefail", "-c")  # the first line that fails ends a script
START_S = 90.0


def environment() -> dict[str, str]:
    """That of the tests, whose commands come first."""
    commands = Path(sys.executable).parent
    return dict(os.environ, PATH=f"{commands}{os.pathsep}{os.environ['PATH']}")


@contextmanager
def background(script: str, folder: Path) -> Generator[None, None, None]:
    """A server that is ready while the block runs, and is stopped after it as Ctrl-C does."""
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(
            [*BASH, f"exec {script.strip()}"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            end_s = time.monotonic() + START_S
            while not _is_ready(said := (folder / "server.log").read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < end_s, said
                time.sleep(0.5)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _is_ready(said: str) -> bool:
    """Whether the address that a server printed answers that its model is loaded."""
    address = re.search(r"http://[\w.]+:\d+/", said)
    if address is None:
        return False
    try:
        with urllib.request.urlopen(f"{address[0]}api/health", timeout=5) as answer:
            return bool(json.load(answer)["ready"])
    except OSError:
        return False


def shell(script: str, folder: Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run lines of bash; the first that fails ends them."""
    return subprocess.run(
        [*BASH, script],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
