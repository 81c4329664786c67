"""The networks are fetched, checked and converted, and every way that fails says what to do."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vlar.errors import ModelError, UsageError
from vlar.pose import network_files
from vlar.pose.tflite_constants import densify
from vlar.pose.tflite_conversion import to_onnx


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLAR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_absent_networks_are_an_error_that_names_the_command(place: Path):
    assert not network_files.is_installed()
    with pytest.raises(ModelError, match="vlar models get lite-motion"):
        network_files.read_network(network_files.DETECTOR)


def test_without_a_network_the_way_out_is_named(place: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_NO_INDEX": "",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match="--from FILE"):
        network_files.fetch()
    assert not network_files.is_installed()


def wheel(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for network in network_files.NETWORKS:
            out.writestr(network.member, data)
        out.writestr("mediapipe-0.10.14.dist-info/LICENSE", "Apache")
    return path


def test_another_file_is_refused(place: Path):
    with pytest.raises(ModelError, match="sha256"):
        network_files.fetch(wheel(place / "other.whl", b"other weights"))
    assert not network_files.is_installed()


def test_a_source_that_is_neither_is_refused(place: Path):
    (place / "notes.txt").write_text("no wheel")
    for source in (place / "notes.txt", place):
        with pytest.raises(UsageError, match="--from"):
            network_files.fetch(source)
    with pytest.raises(UsageError):
        network_files.fetch(place / "absent.whl")


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\0" * 4 + b"TFL3", b"\xff" * 4 + b"TFL3" * 20])
def test_damaged_networks_are_refused(data: bytes):
    with pytest.raises(ModelError):
        to_onnx(data, ["Identity"])


def test_a_changed_network_is_noticed(place: Path):
    folder = network_files.folder()
    folder.mkdir(parents=True)
    (folder / "detector.onnx").write_bytes(b"changed")
    (folder / "manifest.json").write_text('{"networks": {"detector": "0"}}')
    with pytest.raises(ModelError, match="damaged"):
        network_files.read_network(network_files.DETECTOR)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        network_files.read_network(network_files.DETECTOR)


def dense(size: int) -> SimpleNamespace:
    return SimpleNamespace(Format=lambda: 0, DenseSize=lambda: size)


def sparse(monkeypatch: pytest.MonkeyPatch, segments: list[int], indices: list[int]) -> object:
    axis = SimpleNamespace(Format=lambda: 1, DenseSize=lambda: 0)
    kept = {"ArraySegments": np.array(segments), "ArrayIndices": np.array(indices)}
    monkeypatch.setattr("vlar.pose.tflite_constants._vector", lambda _, name: kept[name])
    return axis


def sparsity(order: list[int], blocks: list[int], axes: list[object]) -> SimpleNamespace:
    return SimpleNamespace(
        TraversalOrderAsNumpy=lambda: np.array(order),
        BlockMapAsNumpy=lambda: np.array(blocks) if blocks else 0,
        DimMetadataLength=lambda: len(axes),
        DimMetadata=lambda k: axes[k],
    )


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
