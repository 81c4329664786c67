"""Files of tracks that a stranger sends, and what the one line about each has to name."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.sensor_cases import Make, SensorCase, as_json, data, text

_DLC = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
_BVH = (
    "HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n}\nMOTION\n"
)
_MARS = {"scores": [[[1] * 7]]}
_AMC = ":FULLY-SPECIFIED\n:DEGREES\n"
_ROOT = "root 0 0 0 0 0 0\n"


def tracks(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("tracks", name, says, make)


def hdf5(fill: Callable[[Any], None]) -> Make:
    """A file of HDF5."""

    def make(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            fill(file)

    return make


def sleap(**arrays: Any) -> Make:
    """An analysis of SLEAP with these arrays."""
    arrays["node_names"] = np.array([b"nose", b"tail"])
    return hdf5(lambda file: file.update(arrays))


def _huge(file: Any) -> None:
    file.create_dataset("tracks", (1, 2, 2, 10**12), "f8", chunks=(1, 2, 2, 4096))
    file.create_dataset("node_names", data=np.array([b"nose", b"tail"]))


def _linked(file: Any) -> None:
    """Points that lie in a file elsewhere on the machine."""
    import h5py

    file["tracks"] = h5py.ExternalLink("/example/other.h5", "/tracks")
    file.create_dataset("node_names", data=np.array([b"nose", b"tail"]))


def _outside(file: Any) -> None:
    """Points whose bytes are those of a file elsewhere on the machine."""
    storage = [("/example/private.bin", 0, 16)]
    file.create_dataset("tracks", (1, 2, 1, 1), "f8", external=storage)
    file.create_dataset("node_names", data=np.array([b"nose"]))


def _virtual(file: Any) -> None:
    """Points that are those of an array in another file."""
    import h5py

    layout = h5py.VirtualLayout((1, 2, 1, 1), "f8")
    layout[...] = h5py.VirtualSource("/example/other.h5", "tracks", (1, 2, 1, 1))
    file.create_virtual_dataset("tracks", layout)
    file.create_dataset("node_names", data=np.array([b"nose"]))


def _pickled(file: Any) -> None:
    table = np.zeros(3, [("index", "i8"), ("values_block_0", "f8", (2,))])
    node = file.create_group("df_with_missing").create_dataset("table", data=table)
    node.attrs["values_block_0_kind"] = np.bytes_(b"cos\nsystem\n(S'true'\ntR.")


def _circle(file: Any) -> None:
    group = file.create_group("poseest")
    group["points"] = group  # a group that holds itself


TRACK_CASES = [
    # Tables
    tracks("no-rate.csv", "states no frame rate", text(_DLC + "0,1,2,3,4\n1,1,2,3,4\n")),
    tracks("no-frame.csv", "fewer than 4 header rows", text(_DLC)),
    tracks("uneven-header.csv", "different numbers of cells",
           text(_DLC.replace("nose,nose,", "nose,") + "0,1,2,3,4\n")),
    tracks("word-in-a-cell.csv", "not a number", text(_DLC + "0,1,2,3,four\n")),
    tracks("short-row.csv", "not a number", text(_DLC + "0,1,2\n")),
    tracks("far-away.csv", "beyond", text(_DLC + "0,1,2,3,1e30\n")),
    tracks("nothing-present.csv", "no point is present", text(_DLC + "0,,,,\n1,,,,\n")),
    tracks("many-points.csv", "at most 50 of",
           text(",".join(f"p{n}_x,p{n}_y" for n in range(600)) + "\n" + "1," * 1199 + "1\n")),
    tracks("many-animals.csv", "at most 50 of",
           text(",".join(f"a{n}.p_x,a{n}.p_y" for n in range(60)) + "\n" + "1," * 119 + "1\n")),
    tracks("clock-that-stands.csv", "time", text("time_s,a_x,a_y\n" + "1,2,3\n" * 50)),
    tracks("cut.csv.xz", "ends too early",
           data(lambda: lzma.compress((_DLC + "0,1,2,3,4\n" * 99999).encode())[:-40])),
    tracks("cut.csv.gz", "ends too early|damaged",
           data(lambda: gzip.compress((_DLC + "0,1,2,3,4\n" * 99999).encode())[:-40])),
    tracks("300-MB.csv.xz", "the most that is read",
           data(lambda: lzma.compress(_DLC.encode() + b"0" * 300_000_000, preset=0))),
    # Motion capture and JSON
    tracks("deep.bvh", "more joints", text("HIERARCHY\n" + "JOINT a\n{\n" * 2000)),
    tracks("many-frames.bvh", "states 9", text(_BVH + "Frames: 999999999\nFrame Time: 0.01\n1")),
    tracks("few-numbers.bvh", "numbers, and 5 frames",
           text(_BVH + "Frames: 5\nFrame Time: 0.01\n1 2 3\n")),
    tracks("no-time.bvh", "0 s|states", text(_BVH + "Frames: 1\nFrame Time: 0\n1 2 3\n")),
    tracks("cut.bvh", "motion is cut", text(_BVH + "Frames:")),
    tracks("no-root.amc", "no bone 'root'", text(_AMC + "1\nhead 1 2 3\n")),
    tracks("bone-that-comes-and-goes.amc", "not in every frame",
           text(_AMC + f"1\n{_ROOT}head 1 2 3\n2\n{_ROOT}")),
    tracks("uneven.amc", "even steps", text(_AMC + "".join(f"{n}\n{_ROOT}" for n in (1, 2, 9)))),
    tracks("word.amc", "not a number", text(_AMC + "1\nroot 0 0 0 0 0 zero\n")),
    tracks("ragged.json", "one shape", as_json({"keypoints": [[[[1], [1, 2]]]], **_MARS})),
    tracks("flat.json", "have the shape", as_json({"keypoints": [1, 2], **_MARS})),
    tracks("other-scores.json", "do not fit",
           as_json({"keypoints": [[[[1] * 7] * 2]] * 3, **_MARS})),
    # HDF5
    tracks("cut-dlc.h5", "not a readable", data(b"\x89HDF\r\n\x1a\n" + b"\0" * 64)),
    tracks("other-nodes.h5", "do not fit its nodes", sleap(tracks=np.ones((1, 2, 5, 9)))),
    tracks("words.h5", "malformed|not a readable", sleap(tracks=np.full((1, 2, 2, 9), b"a"))),
    tracks("terabytes.h5", "memory|MB", hdf5(_huge)),
    tracks("link-to-another-file-dlc.h5", "malformed|not a readable", hdf5(_linked)),
    tracks("bytes-of-another-file.h5", "in another file", hdf5(_outside)),
    tracks("array-of-another-file.h5", "in another file", hdf5(_virtual)),
    tracks("pickle-that-calls.h5", "not plain texts", hdf5(_pickled)),
    tracks("group-in-itself.h5", "stands in place|malformed", hdf5(_circle)),
]  # fmt: skip
