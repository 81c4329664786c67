"""The header of a safetensors file is believed only where the file holds what it states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from vlar.files.arrays import not_finite, read_header, sha256

SOUND = {"a": np.zeros((2, 3), np.float32), "b": np.ones(5, np.int64), "c": np.zeros((0, 7))}


def test_the_shapes_of_a_sound_file(tmp_path: Path) -> None:
    save_file(SOUND, tmp_path / "a", metadata={"any": "text"})
    header = read_header(tmp_path / "a", 1 << 20)
    assert header.shapes == {"a": (2, 3), "b": (5,), "c": (0, 7)}
    assert header.size == (tmp_path / "a").stat().st_size


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
        with pytest.raises(ValueError):
            read_header(Path(file.name), 1 << 20)


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
