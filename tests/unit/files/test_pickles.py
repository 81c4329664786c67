"""Pickles are read as plain data; whatever else is in them is refused and never run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.refusals import refused
from vlar.files.pickles import read_pickle, read_state


class Runs:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *values: Any) -> None:
        self.made_by = function, values

    def __reduce__(self) -> Any:
        return self.made_by


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_data_and_arrays(protocol: int, tmp_path: Path):
    shared = np.arange(6, dtype=np.float16)
    value = {
        "a": np.arange(6.0).reshape(2, 3).T, "b": [shared, (1, "x", None, True)], "c": shared,
        "d": np.zeros((2, 3), np.int8), "e": np.array(["p", "qr"]), "f": {1: 2.5, 0.5: 3, None: 4},
        "g": np.arange(3, dtype=">i4"),
    }  # fmt: skip
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(value, protocol=protocol))
    found = read_pickle(file)
    for key in "acdeg":
        np.testing.assert_array_equal(found[key], value[key])
        assert found[key].dtype == value[key].dtype
    assert found["b"][1] == (1, "x", None, True)
    assert found["f"] == {1: 2.5, 0.5: 3, None: 4}


@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, __import__, getattr, subprocess.Popen, print, np.load, np.fromfile],
)
def test_a_hostile_file_is_refused_and_runs_nothing(function: Any, tmp_path: Path):
    canary = tmp_path / "canary"
    file = tmp_path / "a.pkl"
    for value in (Runs(function, f"touch {canary}"), [{"x": (Runs(function, str(canary)),)}]):
        file.write_bytes(pickle.dumps(value))
        refused(ValueError, r"it needs .*nothing of it was run", read_pickle, file)
    assert not canary.exists()


def raw(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(np.array([object()], dtype=object)),
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
        raw(b"cnumpy\nndarray\n", b"(J\xff\xff\xff\x7ftR"),  # an array as large as it states
        raw(ARRAY, b")R"),  # an array that is never filled
        raw(ARRAY, b"}X\x08\x00\x00\x00__code__K\x01sb"),  # the state of an admitted function
        raw(b"cposix\nsystem\n", b"(X\x02\x00\x00\x00lstR"),
        raw(b"(X\x02\x00\x00\x00lsi", b"posix\nsystem\n"),
        b"\x80\x02P1\n.",  # a persistent object
        b"\x80\x04\x95",
        b"",
        b"no pickle",
    ],
)
def test_what_is_malformed_is_a_sentence(data: bytes, tmp_path: Path):
    file = tmp_path / "a.pkl"
    file.write_bytes(data)
    refused(ValueError, r"\w+ .*", read_pickle, file)


def test_an_array_must_hold_what_it_states(tmp_path: Path):
    whole = pickle.dumps(np.zeros(1000, np.float64), protocol=2)
    file = tmp_path / "a.pkl"
    file.write_bytes(whole.replace((1000).to_bytes(2, "little"), (60000).to_bytes(2, "little"), 1))
    refused(ValueError, "not of the size that it states", read_pickle, file)


def test_a_list_of_itself_ends(tmp_path: Path):
    loop: list[Any] = [1]
    loop.append(loop)
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(loop))
    assert read_pickle(file)[0] == 1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (raw(b"}", b")", b"2\x86" * 60, b"K\x01s"), "a key in it"),
        (raw(b"}(", b")", b"2\x86" * 60, b"K\x01u"), "a key in it"),
        (raw(b"(", b")", b"2\x86" * 60, b"K\x01d"), "a key in it"),
        (raw(b"}K\x01q\x00)h\x00s}(h\x00K\x02u"), "a key in it"),
        (raw(b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x1fK\x01s"), "a key in it"),
        (b"\x80\x04\x8f(" + b")" + b"2\x86" * 60 + b"\x90.", "EMPTY_SET"),
        (b"\x80\x04(" + b")" + b"2\x86" * 60 + b"\x91.", "FROZENSET"),
        (b"\x80\x02Nr\xff\xff\xff\x0f.", "numbers an object"),  # a memo of 2 GB in 9 bytes
        (b"\x80\x02Np99999999\n.", "numbers an object"),
    ],
)
def test_what_takes_time_or_memory_without_bound_is_refused(data: bytes, says: str, tmp_path: Path):
    file = tmp_path / "a.pkl"
    file.write_bytes(data)
    refused(ValueError, says, read_pickle, file)


def test_shared_data_does_not_multiply(tmp_path: Path):
    """Many arrays of the same bytes: 1 MB that would take 2 GB."""
    shared = np.zeros(1 << 20, np.uint8).tobytes()
    begin = b"\x80\x03(B" + len(shared).to_bytes(4, "little") + shared + b"q\x000"
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J" + len(shared).to_bytes(4, "little")
        + b"\x85cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR\x89h\x00tb"
    )  # fmt: skip
    file = tmp_path / "a.pkl"
    file.write_bytes(begin + made * 1600 + b"l.")
    refused(ValueError, r"1\.5 GB", read_pickle, file)
    file.write_bytes(begin + made * 3 + b"l.")
    assert [array.shape for array in read_pickle(file)] == [(1 << 20,)] * 3


def saved(state: Any, *, archive: bool = True) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(state, stream, _use_new_zipfile_serialization=archive)
    return stream.getvalue()


@pytest.mark.parametrize("archive", [True, False])
def test_a_state_of_torch(archive: bool):
    import torch

    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = collections.OrderedDict(
        whole=whole, turned=whole.permute(2, 0, 1), part=whole[1, :, 1:3], one=whole[1, 2, 3],
        none=torch.zeros(0, 3), half=whole.half(), steps=torch.tensor(7), yes=torch.tensor([True]),
        bytes=torch.arange(3, dtype=torch.uint8), double=whole.double() / 7,
    )  # fmt: skip
    state._metadata = {"": {"version": 1}}  # as a module's own state has it
    found = read_state(saved(state, archive=archive))
    assert list(found) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)
    assert found["turned"].flags.c_contiguous
    found["whole"][:] = 0  # a copy: others that share its data stay
    assert found["part"].any()


def torch_pickle(*, offset: int = 0, shape: Any = (2,), strides: Any = (1,), count: int = 4) -> Any:
    """A legacy file of one float tensor, with any numbers in it."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            import torch

            return torch._utils._rebuild_tensor_v2, (
                Storage(), offset, shape, strides, False, collections.OrderedDict(),
            )  # fmt: skip

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            import torch

            where = ("storage", torch.FloatStorage, "0", "cpu", count, None)
            return where if isinstance(obj, Storage) else None

    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"w": Tensor()}, ["0"]):
        Pickler(stream, 2).dump(value)
    return stream.getvalue() + (4).to_bytes(8, "little") + np.arange(4, dtype="<f4").tobytes()


def test_a_tensor_within_its_data():
    np.testing.assert_array_equal(read_state(torch_pickle(offset=2))["w"], [2, 3])


def bombed(data: bytes) -> bytes:
    """The same archive, compressed."""
    stream = io.BytesIO()
    old = zipfile.ZipFile(io.BytesIO(data))
    with old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("says", "data"),
    [
        ("not within its data", lambda: torch_pickle(offset=3)),
        ("not within its data", lambda: torch_pickle(offset=-1)),
        ("not within its data", lambda: torch_pickle(shape=(2, 2), strides=(3, 1))),
        ("not within its data", lambda: torch_pickle(shape=(2,), strides=(-1,), offset=3)),
        ("GB of memory", lambda: torch_pickle(shape=(10**7, 10**7), strides=(0, 0))),
        ("not a readable pickle", lambda: torch_pickle(shape="ab")),
        ("not of the size", lambda: torch_pickle(count=5)),
        ("not of the size", lambda: torch_pickle()[:-1]),
        ("pickle exhausted", lambda: torch_pickle()[:200]),
        ("torch did not write it", lambda: pickle.dumps(7, 2)),
        ("pickle exhausted", lambda: b""),
        ("compressed", lambda: bombed(saved({}))),
        ("flat dict of tensors", lambda: saved({"a": 1})),
        ("flat dict of tensors", lambda: saved([1])),
        ("it needs 'posix.system'", lambda: saved({"a": Runs(os.system, "false")})),
        ("it needs '__builtin__.eval'", lambda: saved({"a": Runs(eval, "1")}, archive=False)),
        ("made in an unusual way", lambda: raw(b"ctorch\nFloatStorage\n)R")),
        ("it needs 'numpy.dtype'", lambda: raw(b"cnumpy\ndtype\n)R")),
        ("changes a function", lambda: raw(b"ccollections\nOrderedDict\n}b")),
        ("takes 1 pos", lambda: raw(b"ccollections\nOrderedDict\n(K\x01tR")),
    ],
)
def test_a_state_that_is_none_costs_one_line(says: str, data: Any):
    caught = refused(ValueError, says, read_state, data())
    assert "\n" not in str(caught.value)


def test_the_types_that_numpy_lacks_are_refused():
    import torch

    data = saved({"a": torch.zeros(2, dtype=torch.bfloat16)})
    refused(ValueError, r"it needs 'torch.BFloat16Storage'", read_state, data)
