"""Array files of others: no objects, no bombs, no headers that claim what the file lacks."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from scipy.io import savemat

from tests.refusals import refused
from vlar.files import arrays
from vlar.files import arrays as numpy_files
from vlar.files.arrays import not_finite, read_header, sha256


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
    refused(ValueError, "unpacks to 64 MB", numpy_files.read_npz, tmp_path / "a.npz", most=8 << 20)


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
    refused(ValueError, "not an array of numbers", arrays.read_matlab, tmp_path / "a.mat", ["a"])
    np.save(tmp_path / "o.npy", np.array([object()], dtype=object))
    refused(ValueError, "not plain numbers", numpy_files.read_npy, tmp_path / "o.npy")
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(3, 2)", b"(9, 2)"))
    refused(ValueError, r"states 144 bytes.*holds 48", numpy_files.read_npy, tmp_path / "a.npy")


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
    refused(ValueError, said, arrays.read_matlab, tmp_path / "a.mat", ["a"])


SOUND = {"a": np.zeros((2, 3), np.float32), "b": np.ones(5, np.int64), "c": np.zeros((0, 7))}


def test_the_shapes_of_a_sound_file(tmp_path: Path) -> None:
    save_file(SOUND, tmp_path / "a", metadata={"any": "text"})
    header = read_header(tmp_path / "a", 1 << 20)
    assert header.shapes == {"a": (2, 3), "b": (5,), "c": (0, 7)}
    assert header.size == (tmp_path / "a").stat().st_size


WIDTHS = {8: "F64 I64 U64", 4: "F32 I32 U32", 2: "F16 BF16 I16 U16", 1: "I8 U8 BOOL"}


@pytest.mark.parametrize(
    ("dtype", "width"), [(name, width) for width, names in WIDTHS.items() for name in names.split()]
)
def test_each_type_has_its_bytes(tmp_path: Path, dtype: str, width: int) -> None:
    header = {"x": {"dtype": dtype, "shape": [3], "data_offsets": [0, 3 * width]}}
    assert read_header(write(tmp_path / "a", header, b"\0" * 3 * width), 1 << 20).shapes == {
        "x": (3,)
    }


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]},
        {"dtype": "O", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"shape": [1], "data_offsets": [0, 4]},
        7,
    ],
)
def test_an_entry_that_is_not_sound(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(ValueError, match=r"malformed|describes"):
        read_header(write(tmp_path / "a", {"x": entry}, b"\0" * 4), 1 << 20)


@given(st.binary(max_size=120))
def test_any_bytes_are_refused_with_a_value_error(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        refused(ValueError, "", read_header, Path(file.name), 1 << 20)


@given(st.integers(0, 2**31), st.integers(1, 255))
def test_a_flipped_byte_changes_the_checksum_or_is_refused(place: int, change: int) -> None:
    import tempfile

    data = bytearray(save(SOUND))
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(data)
        before = sha256(path, 1 << 20)
        data[place % len(data)] ^= change
        path.write_bytes(data)
        assert sha256(path, 1 << 20) != before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_number_that_is_not_finite_is_found(value: float, dtype: Any) -> None:
    array = np.zeros((3, 4), dtype)
    assert not_finite({"a": array, "i": np.ones(3, np.int32), "e": np.zeros((0, 2))}) is None
    array[2, 1] = value
    assert not_finite({"i": np.ones(3, np.int32), "a": array}) == "a"
