"""MATLAB and NumPy files of others: no objects, no bombs, no headers that lie."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vlar.files import arrays
from vlar.files import arrays as numpy_files


def test_numbers_are_read(tmp_path: Path):
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(3, dtype=np.uint16)}
    savemat(tmp_path / "a.mat", values, do_compression=True)
    found = arrays.read_matlab(tmp_path / "a.mat", ["a", "missing"])
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], values["a"])
    assert arrays.shapes_in(tmp_path / "a.mat")["b"] == (1, 3)
    np.savez(tmp_path / "a.npz", **values)
    np.testing.assert_array_equal(numpy_files.read_npz(tmp_path / "a.npz")["b"], values["b"])
    np.save(tmp_path / "a.npy", np.asfortranarray(values["a"]))
    np.testing.assert_array_equal(numpy_files.read_npy(tmp_path / "a.npy"), values["a"])


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path):
    savemat(tmp_path / "a.mat", {"a": np.zeros(8 << 20)}, do_compression=True)
    with pytest.raises(ValueError, match="unpacks to more than 8 MB"):
        arrays.read_matlab(tmp_path / "a.mat", ["a"], most=8 << 20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * (64 << 20))
    with pytest.raises(ValueError, match="unpacks to 64 MB"):
        numpy_files.read_npz(tmp_path / "a.npz", most=8 << 20)


def mat(*parts: bytes, compress: bool = False) -> bytes:
    """A MATLAB file of these matrices."""
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    whole = [struct.pack("<II", 14, len(part)) + part for part in parts]
    if compress:
        whole = [zlib.compress(part) for part in whole]
        whole = [struct.pack("<II", 15, len(part)) + part for part in whole]
    return head + b"".join(whole)


def matrix(name: str, kind: int, shape: tuple[int, ...], rest: bytes) -> bytes:
    """A variable of a class, before its content ``rest``."""
    dims = struct.pack(f"<{len(shape)}i", *shape)
    text = name.encode()
    return b"".join(
        struct.pack("<II", number, len(part)) + part.ljust(-(-len(part) // 8) * 8, b"\0")
        for number, part in ((6, struct.pack("<II", kind, 0)), (5, dims), (1, text))
    ) + rest  # fmt: skip


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 16, 17])
def test_cells_structs_and_objects_are_never_entered(kind: int, compress: bool, tmp_path: Path):
    # Cells in cells: a parser that enters them ends the process.
    nested = (struct.pack("<II", 14, 1 << 20) + matrix("", 1, (1, 1), b"")) * 20_000
    (tmp_path / "a.mat").write_bytes(mat(matrix("d_skel", kind, (1, 1), nested), compress=compress))
    assert arrays.shapes_in(tmp_path / "a.mat") == {"d_skel": (1, 1)}
    with pytest.raises(ValueError, match="'d_skel' is not an array of numbers"):
        arrays.read_matlab(tmp_path / "a.mat", ["d_skel"])


def test_an_array_next_to_a_cell_is_read(tmp_path: Path):
    savemat(tmp_path / "a.mat", {"c": np.array([1, "x"], object), "a": np.arange(3), "s": {"b": 1}})
    assert arrays.read_matlab(tmp_path / "a.mat", ["a"])["a"].tolist() == [[0, 1, 2]]


def test_the_same_numbers_as_scipy_reads(tmp_path: Path):
    from scipy.io import loadmat

    rng = np.random.default_rng(0)
    kinds = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    values = {f"a{kind}": (100 * rng.random((3, 4, 2))).astype(kind) for kind in kinds}
    values |= {"yes": np.array([True, False]), "none": np.zeros((0, 3)), "one": np.array(2.5)}
    for compress in (False, True):
        savemat(tmp_path / "a.mat", values, do_compression=compress)
        theirs = loadmat(tmp_path / "a.mat")
        found = arrays.read_matlab(tmp_path / "a.mat", list(values))
        for name, array in found.items():
            np.testing.assert_array_equal(array, theirs[name])
            assert array.dtype == theirs[name].dtype
        assert list(found) == list(values)


def test_a_shape_that_its_numbers_do_not_fill_is_refused(tmp_path: Path):
    rest = struct.pack("<II", 9, 16) + bytes(16)
    (tmp_path / "a.mat").write_bytes(mat(matrix("a", 6, (1 << 20, 1 << 20), rest)))
    with pytest.raises(ValueError, match="not of the size that it states"):
        arrays.read_matlab(tmp_path / "a.mat", ["a"])


def test_objects_texts_and_lies_are_refused(tmp_path: Path):
    savemat(tmp_path / "a.mat", {"a": {"b": 1}})
    with pytest.raises(ValueError, match="not an array of numbers"):
        arrays.read_matlab(tmp_path / "a.mat", ["a"])
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
        arrays.read_matlab(tmp_path / "a.mat", ["a"])
