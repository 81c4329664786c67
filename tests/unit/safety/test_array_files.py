"""MATLAB and NumPy files of others: no objects, no bombs, no headers that lie."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vlar.safety import matlab_files, numpy_files


def test_numbers_are_read(tmp_path: Path):
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(3, dtype=np.uint16)}
    savemat(tmp_path / "a.mat", values, do_compression=True)
    found = matlab_files.read_matlab(tmp_path / "a.mat", ["a", "missing"])
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], values["a"])
    assert matlab_files.shapes_in(tmp_path / "a.mat")["b"] == (1, 3)
    np.savez(tmp_path / "a.npz", **values)
    np.testing.assert_array_equal(numpy_files.read_npz(tmp_path / "a.npz")["b"], values["b"])
    np.save(tmp_path / "a.npy", np.asfortranarray(values["a"]))
    np.testing.assert_array_equal(numpy_files.read_npy(tmp_path / "a.npy"), values["a"])


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    bomb = zlib.compress(b"\0" * (64 << 20), 9)
    savemat(tmp_path / "a.mat", {"a": np.zeros(2)})
    head = (tmp_path / "a.mat").read_bytes()[:128]
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(ValueError, match="unpacks to more than 8 MB"):
        matlab_files.read_matlab(tmp_path / "a.mat", ["a"], most=8 << 20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * (64 << 20))
    with pytest.raises(ValueError, match="unpacks to 64 MB"):
        numpy_files.read_npz(tmp_path / "a.npz", most=8 << 20)


def test_objects_texts_and_lies_are_refused(tmp_path: Path):
    savemat(tmp_path / "a.mat", {"a": {"b": 1}})
    with pytest.raises(ValueError, match="not an array of numbers"):
        matlab_files.read_matlab(tmp_path / "a.mat", ["a"])
    np.save(tmp_path / "o.npy", np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="not plain numbers"):
        numpy_files.read_npy(tmp_path / "o.npy")
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(3, 2)", b"(9, 2)"))
    with pytest.raises(ValueError, match=r"states 144 bytes.*holds 48"):
        numpy_files.read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"MATLAB 7.3 MAT-file" + b" " * 200, "-v7"),
        (b"MATLAB 5.0 MAT-file" + b" " * 109 + struct.pack("<II", 14, 10**6), "cut off"),
        (b"MATLAB 5.0 MAT-file" + b" " * 109 + struct.pack("<II", 15, 8) + b"nonsense", "damaged"),
        (b"no", "not a MATLAB file"),
    ],
)
def test_damaged_matlab_files(data: bytes, said: str, tmp_path: Path):
    data = data[:126] + b"IM" + data[128:] if len(data) > 128 else data
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        matlab_files.read_matlab(tmp_path / "a.mat", ["a"])
