"""The commands that change files, each with a state before, and what counts as its state."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import invoke
from tests.fixtures.models_1 import tiny
from tests.unit.library.fakes import tiny_video
from tests.unit.library.maintain.test_upgrade import PartModel
from vlar.apps.serve.bin import Bin
from vlar.apps.serve.library import ServedLibrary
from vlar.errors import VlarError
from vlar.library import labels
from vlar.library.library import Library
from vlar.library.maintain import lazy_upgrade
from vlar.segments.segment import Segment

MODEL = tiny.Tiny.name
DEFECT = 250  # exit code of what is not a sentence
State = Mapping[str, str]  # parts that change one by one, and what they hold
_TIMES = frozenset({"generation", "library_id", "compacted_at"})


@dataclass(frozen=True)
class Command:
    """A command and its folder.

    Attributes:
        prepare: Makes the old state in an empty folder, from files in a second one.
        run: Runs it, as a user would once more; gives an exit code.
        state: Parts of the state.
        libraries: Names of libraries that ``verify`` must find sound.
        whole: Whether all parts change at once.
        repeats: Whether it may run again where it was complete.
    """

    prepare: Callable[[Path, Path], object]
    run: Callable[[Path, Path], int]
    state: Callable[[Path], State]
    libraries: tuple[str, ...] = ("l.vlar",)
    whole: bool = True
    repeats: bool = True


def vlar(*arguments: object) -> int:
    """Exit code of a command line; ``DEFECT`` where it ends otherwise than with one."""
    result = invoke([str(argument) for argument in arguments])
    print(result.output, file=sys.stderr)
    unhandled = result.exception is not None and not isinstance(result.exception, SystemExit)
    is_defect = unhandled or "unexpected" in result.output or "Traceback" in result.output
    return DEFECT if is_defect else result.exit_code


def called(work: Callable[[], object]) -> int:
    """Exit code of a call: 0, or 2 after an error that is a sentence, or of a disk (the server)."""
    try:
        work()
    except (VlarError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def videos(folder: Path) -> list[Path]:
    return sorted((folder / "videos").glob("*.mp4"))


def make_files(folder: Path) -> None:
    """Files that commands read and leave as they are."""
    for number in range(6):
        tiny_video(folder / "videos" / f"{number}.mp4", number, seconds=4)
    tiny.support(folder / "support", shots=2)


def rows_of(path: Path) -> dict[str, str]:
    """State of a library: its manifest and each recording with all that belongs to it."""
    if not (path / "library.sqlite").exists():
        return {}
    with Library(path, create=False) as library:
        if library._connection.reader() is None:
            return {}
        store = store_or_none(library)
        meta = {k: v for k, v in store.meta().items() if k not in _TIMES}
        state = {"manifest": repr(sorted(meta.items()))} if "fingerprint" in meta else {}
        dim, mapped = int(meta.get("dim", 0)), store.mapped()
        for facts in store.recordings():
            rows = store.rows(store.row_ids([facts.id]).tolist(), dim)
            spans = [labels._labels(store, facts.path, facts.id).segments]
            digest = hashlib.sha256(rows.vectors.tobytes())
            parts = (facts.content_hash, facts.stamp, rows.spans, rows.persons, spans)
            marks = [row in mapped for row in rows.ids.tolist()]
            tags = sorted(store.tags([facts.id]).get(facts.id, {}).items())
            digest.update(repr((parts, marks, tags)).encode())
            state[Path(facts.path).name] = digest.hexdigest()[:12]
    return state


def store_or_none(library: Library) -> Any:
    return library._connection.reader()


def model_of(folder: Path) -> State:
    """State of a model folder: its arrays and its manifest without times."""
    if not folder.exists():
        return {}
    manifest = re.sub(r'"(seconds|created)": [^,\n]+', "", (folder / "vlar.json").read_text())
    digest = hashlib.sha256(manifest.encode())
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return {"model": digest.hexdigest()[:12], "card": str((folder / "card.md").is_file())}


def _library(count: int) -> Callable[[Path, Path], None]:
    def prepare(work: Path, files: Path) -> None:
        with Library(work / "l.vlar", MODEL) as library:
            library.add(videos(files)[:count], tags={"place": "gym"})

    return prepare


def _changed(work: Path, files: Path) -> None:
    """Five recordings of which one was removed, so that ``compact`` has something to drop."""
    _library(5)(work, files)
    with Library(work / "l.vlar", MODEL) as library:
        library.remove(videos(files)[0])


def _parts(work: Path, files: Path) -> None:
    with Library(work / "l.vlar", PartModel(0)) as library:
        library.add(videos(files), tags={"place": "gym"})


def _upgraded(work: Path, base: str, lazy: bool) -> None:
    with Library(work / "l.vlar", PartModel(1, base=base)) as library:
        library.upgrade(lazy=lazy)


def _upgrade(lazy: bool) -> Callable[[Path, Path], int]:
    def run(work: Path, _: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lazy_upgrade, "_SAMPLE", (4, 4))
            patch.setattr(lazy_upgrade, "_FEWEST", 2)
            return called(lambda: _upgraded(work, "two" if lazy else "one", lazy))

    return run


def _encode_mapped(work: Path, _: Path) -> int:
    return called(lambda: _upgraded(work, "two", lazy=False))


def _mapped(work: Path, files: Path) -> None:
    _parts(work, files)
    assert _upgrade(lazy=True)(work, files) == 0


def _set_labels(work: Path, files: Path) -> int:
    """As the page does: it reads a version, writes, and reads again after a conflict."""
    video = str(videos(files)[0])
    segments = [Segment(video, 0.0, 1.0, "walk"), Segment(video, 1.0, 3.0, "run")]

    def work_on() -> None:
        with ServedLibrary(work / "l.vlar", MODEL) as library:
            present = library.labels(video)
            library.set_labels(video, segments, present.version)

    return called(work_on)


def _put(work: Path, files: Path) -> int:
    def put() -> None:
        with ServedLibrary(work / "l.vlar", MODEL) as library:
            Bin(library, work / "bin").put([str(video) for video in videos(files)[:2]])

    return called(put)


def _restore(work: Path, files: Path) -> int:
    def restore() -> None:
        with ServedLibrary(work / "l.vlar", MODEL) as library:
            removals = Bin(library, work / "bin")
            for row in removals.listing()["removals"]:
                removals.restore(row["bin"])

    return called(restore)


def _emptied(work: Path, files: Path) -> None:
    _library(3)(work, files)
    assert _put(work, files) == 0


def _model(method: str, name: str = "m") -> Callable[[Path, Path], None]:
    def prepare(work: Path, files: Path) -> None:
        out = work / "models" / name
        code = vlar("adapt", files / "support", "-m", MODEL, "--out", out, "--method", method)
        assert code == 0

    return prepare


def _config(work: Path, files: Path) -> Path:
    """A configuration of one epoch, next to the model that it makes."""
    path = work / "train.toml"
    path.write_text(
        f'model = "{MODEL}"\nmethod = "temporal"\ntrain = "{files / "support"}"\n'
        'out = "models/t"\nsave_every = 1\n[training]\nepochs = 1\nbatch = 4\n'
    )
    return path


def _trained(work: Path) -> State:
    """State of a trained model; a resumed training reports other facts of its run."""
    folder = work / "models" / "t"
    if not folder.exists():
        return {}
    weights = b"".join(file.read_bytes() for file in sorted(folder.glob("*.safetensors")))
    return {"model": hashlib.sha256(weights).hexdigest()[:12]}


def _calibrated(work: Path, files: Path) -> None:
    _model("prototype")(work, files)
    shutil.copytree(work / "models" / "m", work / "models" / "c")


def _in_l(work: Path) -> State:
    return rows_of(work / "l.vlar")


def _in_bin(work: Path) -> State:
    """State of a library, and the recordings that its bin lists."""
    with ServedLibrary(work / "l.vlar", MODEL) as library:
        rows = Bin(library, work / "bin").listing()["removals"]
    return {**_in_l(work), **{f"{name} in the bin": "" for row in rows for name in row["names"]}}


def _with_sidecars(work: Path) -> State:
    files = sorted((work / "own").glob("[!.]*.xmp"))
    return {**_in_l(work), **{f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}}


def _own_videos(work: Path, files: Path) -> None:
    shutil.copytree(files / "videos", work / "own")
    with Library(work / "l.vlar", MODEL) as library:
        library.add(sorted((work / "own").glob("*"))[:3], tags={"label": "walk"})


def _add(work: Path, files: Path) -> int:
    return vlar(
        "index", "add", work / "l.vlar", *videos(files)[:3], "-m", MODEL, "--tag", "place=gym"
    )


def _model_state(name: str) -> Callable[[Path], State]:
    return lambda work: model_of(work / "models" / name)


COMMANDS: dict[str, Command] = {
    "index add, first": Command(lambda *_: None, _add, _in_l, whole=False),
    "index add": Command(_library(1), _add, _in_l, whole=False),
    "index remove": Command(
        _library(3), lambda w, f: vlar("index", "remove", w / "l.vlar", *videos(f)[:2]), _in_l,
        repeats=False,
    ),
    "index compact": Command(
        _changed, lambda w, _: vlar("index", "compact", w / "l.vlar"), _in_l, whole=False
    ),
    "index compact --type ivf": Command(
        _changed, lambda w, _: vlar("index", "compact", w / "l.vlar", "--type", "ivf"), _in_l,
        whole=False,
    ),
    "index copy": Command(
        _library(3), lambda w, _: vlar("index", "copy", w / "l.vlar", w / "copy.vlar"),
        lambda w: rows_of(w / "copy.vlar"), ("l.vlar", "copy.vlar"), whole=False,
    ),
    "index upgrade": Command(_parts, _upgrade(lazy=False), _in_l),
    "index upgrade --lazy": Command(_parts, _upgrade(lazy=True), _in_l),
    "index upgrade, mapped rows": Command(_mapped, _encode_mapped, _in_l, whole=False),
    "index tag": Command(
        _library(3), lambda w, _: vlar("index", "tag", w / "l.vlar", "--take", "names"), _in_l
    ),
    "index tag --write-xmp": Command(
        _own_videos, lambda w, _: vlar("index", "tag", w / "l.vlar", "--write-xmp"),
        _with_sidecars, whole=False,
    ),
    "concept save": Command(
        _library(3),
        lambda w, _: vlar("concept", "save", w / "l.vlar", "mine", "a walk", "--yes", "1"), _in_l,
    ),
    "labels of the page": Command(_library(2), _set_labels, _in_l),
    "bin, put": Command(_library(3), _put, _in_bin, whole=False),
    "bin, restore": Command(_emptied, _restore, _in_bin, whole=False),
    "adapt --force": Command(
        _model("ridge"),
        lambda w, f: vlar(
            "adapt", f / "support", "-m", MODEL, "--out", w / "models" / "m",
            "--method", "prototype", "--force",
        ),
        _model_state("m"), (),
    ),
    "train": Command(
        _config, lambda w, _: vlar("train", w / "train.toml", "--force"), _trained, ()
    ),
    "calibrate --force": Command(
        _calibrated,
        lambda w, f: vlar(
            "calibrate", f / "support", "-m", w / "models" / "m", "--out", w / "models" / "c",
            "--force",
        ),
        _model_state("c"), (),
    ),
}  # fmt: skip
