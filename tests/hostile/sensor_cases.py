"""Recordings of other sensors that a stranger sends, and what the one line about each has to name.

All files of a sensor are read in one run of ``vlar check``, next to three sound ones: each damaged
file is one row, and the sound ones are rows too.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests import event_files
from tests.hostile import kit as things

Make = Callable[[Path], None]


@dataclass(frozen=True)
class SensorCase:
    """One file.

    Attributes:
        sensor: Name of the reader that claims it.
        name: Of the file, with its ending.
        says: What the row about it has to hold.
        make: Writes it.
    """

    sensor: str
    name: str
    says: str
    make: Make


def text(content: str) -> Make:
    return lambda path: path.write_text(content, "utf-8") and None


def data(content: bytes | Callable[[], bytes]) -> Make:
    """A file; what takes long to make is made when it is written."""
    return lambda path: path.write_bytes(content() if callable(content) else content) and None


def as_json(content: Any) -> Make:
    return text(json.dumps(content))


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(arrays: Mapping[str, Any]) -> Make:
    """An archive; ``bytes`` stand for themselves."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                content = array if isinstance(array, bytes) else npy(array)
                archive.writestr(f"{name}.npy", content)

    return make


def states(size: int, make: Make) -> Make:
    """An archive whose list of members gives a size for the first."""

    def change(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        at = content.index(b"PK\x01\x02") + 24
        content[at : at + 4] = struct.pack("<I", size)
        path.write_bytes(content)

    return change


def header(shape: str, descr: str = "'<f4'", rest: bytes = b"") -> bytes:
    """A .npy file with any text as its shape and type."""
    told = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(told).to_bytes(2, "little") + told + rest


# MATLAB


def matrix(name: str, kind: int, shape: tuple[int, ...], rest: bytes, flags: int = 0) -> bytes:
    """A variable of a class, before its content ``rest``."""
    parts = (
        (6, struct.pack("<II", kind | flags, 0)),
        (5, struct.pack(f"<{len(shape)}i", *shape)),
        (1, name.encode()),
    )
    body = b"".join(
        struct.pack("<II", number, len(part)) + part.ljust(-(-len(part) // 8) * 8, b"\0")
        for number, part in parts
    )
    return struct.pack("<II", 14, len(body + rest)) + body + rest


def mat(*elements: bytes, compress: bool = False) -> Make:
    if compress:
        packed = [zlib.compress(element, 1) for element in elements]
        elements = tuple(struct.pack("<II", 15, len(each)) + each for each in packed)
    return data(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements))


def doubles(values: Any) -> bytes:
    flat = np.asarray(values, "<f8").ravel(order="F").tobytes()
    return struct.pack("<II", 9, len(flat)) + flat


def nested_cells(name: str) -> bytes:
    """Cells in cells, 25,000 deep: what enters them ends the process."""
    empty = matrix("", 1, (1, 1), b"")
    levels = [struct.pack("<II", 14, len(empty) - 8 + len(empty) * n) for n in range(25_000)]
    inner = b"".join(level + empty[8:] for level in reversed(levels))
    return matrix(name, 1, (1, 1), inner)


BIG = 10**200


def skeletons_of(name: str, values: Any) -> bytes:
    array = np.asarray(values, float)
    return matrix(name, 6, array.shape, doubles(array))


def mats(sensor: str, variable: str, shape: tuple[int, ...]) -> list[SensorCase]:
    """What every reader of MATLAB files meets."""
    sound = np.ones(shape)

    def case(name: str, says: str, make: Make) -> SensorCase:
        return SensorCase(sensor, f"{sensor}_{name}_{SENSOR_WORD[sensor]}.mat", says, make)

    numbers = "not an array of numbers"
    return [
        case("nested-cells", numbers, mat(nested_cells(variable))),
        case("nested-cells-packed", numbers, mat(nested_cells(variable), compress=True)),
        *(case(f"class-{kind}", numbers, mat(matrix(variable, kind, (1, 1), bytes(64))))
          for kind in (2, 3, 4, 5, 16, 17)),
        case("complex", numbers, mat(matrix(variable, 6, shape, doubles(sound), 0x0800))),
        case("cut", "cut off", mat(matrix(variable, 6, shape, doubles(sound))[:-100])),
        case("huge-shape", "size that it states",
             mat(matrix(variable, 6, (2**30, 2**30, 4), doubles(sound)))),
        case("negative-shape", numbers, mat(matrix(variable, 6, (-1, -6), doubles(sound)))),
        case("40-dimensions", "no usable name or shape",
             mat(matrix(variable, 6, (1,) * 40, doubles(sound)))),
        case("not-zlib", "damaged", mat(struct.pack("<II", 15, 16) + b"nonsense" * 2)),
        case("7.3", "-v7", data(b"MATLAB 7.3 MAT-file".ljust(512))),
        case("other-shape", "is", mat(skeletons_of(variable, np.ones((2, 2))))),
    ]  # fmt: skip


SENSOR_WORD = {"skeleton": "skel", "imu": "inertial", "depth": "depth"}

# Skeletons

LANDMARKS = [{"x": 0.5, "y": 0.5, "z": 0, "visibility": 1.0}] * 33
PERSON = {"image_id": 1, "keypoints": [1.0] * 51}
FACTS = {"layout": "ntu25", "unit": "m", "rate_hz": 30}


def own(points: Any = None, facts: Any = FACTS, **more: Any) -> Make:
    points = np.zeros((3, 1, 25, 3), np.float32) + 1 if points is None else points
    stored = facts if isinstance(facts, bytes) else np.array(
        facts if isinstance(facts, str) else json.dumps(facts))  # fmt: skip
    return npz({"facts": stored, "points": points, **more})


def without(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}


def named(first: str, *rows: str) -> Make:
    joints = ",".join(f"{at}_{axis}" for at in range(17) for axis in "xy")
    row = ",".join(["1"] * 34)
    lines = rows or (f"frame,{joints}", f"0,{row}", f"1,{row}")
    return text("\n".join((first, *lines)) + "\n")


def timed(*times: str) -> Make:
    joints = ",".join(f"{at}_{axis}" for at in range(17) for axis in "xy")
    row = ",".join(["1"] * 34)
    lines = [f"{time},{row}" for time in times]
    return named("# layout=coco17 unit=px", f"time_s,{joints}", *lines)


def pickled(**changes: Any) -> Make:
    row = {
        "frame_dir": "a", "label": 1, "img_shape": (100, 100),
        "keypoint": np.ones((1, 3, 17, 2), np.float16), **changes,
    }  # fmt: skip
    return data(pickle.dumps({"annotations": [row]}, protocol=4))


def shared(depth: int) -> Any:
    """A tree of 2**depth leaves in a few bytes."""
    value: Any = []
    for _ in range(depth):
        value = [value, value]
    return value


def ntu_people(frames: int, people: int) -> Make:
    """Every person in one frame of many: the table of all would take gigabytes."""
    joint = " ".join(["1"] * 12)
    body = "\n".join(["25", *[joint] * 25])
    crowd = [f"{n}\n" for n in (people,)]
    crowd += [f"{n} 0 0 0 0 0 0 0 0 0\n{body}\n" for n in range(people)]
    return text(f"{frames}\n{''.join(crowd)}" + "0\n" * (frames - 1))


def raw_pickle(*parts: bytes) -> Make:
    return data(b"\x80\x02" + b"".join(parts) + b".")


DEEP = b")" + b"2\x86" * 60


SBU = ",".join(["1", *["0.5"] * 90])


def skeleton(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("skeleton", name, says, make)


SKELETONS = [
    *mats("skeleton", "d_skel", (20, 3, 4)),
    skeleton("bomb-skel.mat", "unpacks to more than 400 MB", lambda path: mat(
        matrix("d_skel", 6, (20, 3, 4), struct.pack("<II", 9, 1 << 29) + bytes(420 << 20)),
        compress=True)(path)),
    skeleton("ut-infinite-lengths.mat", "no skeleton", mat(
        skeletons_of("complete_skeleton", np.ones((1, 1, 2, 3, 20, 3))),
        skeletons_of("action_length", np.array([np.inf, np.nan]).reshape(1, 1, 2)))),
    skeleton("ut-no-lengths.mat", "no variable", mat(
        skeletons_of("complete_skeleton", np.ones((1, 1, 2, 3, 20, 3))))),
    # vlar's own files
    skeleton("sbu-cut-line.txt", "another number of values", text(f"{SBU}\n{SBU[:40]}\n")),
    skeleton("sbu-words.txt", "not a number", text(f"{SBU}\n{SBU.replace('0.5', 'half', 1)}\n")),
    skeleton("sbu-frames-fall.txt", "do not rise", text(f"{SBU}\n{SBU}\n")),
    skeleton("sbu-nobody.txt", "no joint is seen", text(",".join(["1", *["0"] * 90]) + "\n")),
    skeleton("own-no-rate.npz", "rate_hz is missing", own(facts=without(FACTS, "rate_hz"))),
    skeleton("own-rate-huge.npz", "not a number above|digits",
             own(facts={**FACTS, "rate_hz": BIG})),
    skeleton("own-rate-beyond.npz", "400|401 digits", own(facts={**FACTS, "rate_hz": 10**400})),
    skeleton("own-rate-tiny.npz", "samples a second", own(facts={**FACTS, "rate_hz": 1e-11})),
    skeleton("own-rate-text.npz", "rate_hz is 30", own(facts={**FACTS, "rate_hz": "30"})),
    skeleton("own-rate-bool.npz", "rate_hz is True", own(facts={**FACTS, "rate_hz": True})),
    skeleton("own-no-unit.npz", "no unit", own(facts=without(FACTS, "unit"))),
    skeleton("own-no-layout.npz", "layout", own(facts=without(FACTS, "layout"))),
    skeleton("own-layout-list.npz", "layout", own(facts={**FACTS, "layout": [1]})),
    skeleton("own-label-tree.npz", "name or label", own(facts={**FACTS, "label": [[1]]})),
    skeleton("own-facts-list.npz", "no unit", own(facts="[1]")),
    skeleton("own-facts-deep.npz", "nested", own(facts="[" * 10_000)),
    skeleton("own-facts-twice.npz", "twice", own(facts='{"unit": "m", "unit": "px"}')),
    skeleton("own-facts-many.npz", "'points' and 'facts'",
             npz({"facts": np.array(["{}", "{}"]), "points": np.ones((1, 1, 25, 3))})),
    skeleton("own-size-text.npz", "width is", own(facts={**FACTS, "size": ["a", "b"]})),
    skeleton("own-size-huge.npz", "width is", own(facts={**FACTS, "size": [BIG, 1]})),
    skeleton("own-integers.npz", "'points' and 'facts'", own(np.ones((1, 1, 25, 3), np.int64))),
    skeleton("own-flat.npz", "joints", own(np.ones(5, np.float32))),
    skeleton("own-scalar.npz", "joints", own(np.float32(1))),
    skeleton("own-other-joints.npz", "25 joints and the file 24",
             own(np.ones((1, 1, 24, 3), np.float32))),
    skeleton("own-no-frame.npz", "no frame", own(np.ones((0, 1, 25, 3), np.float32))),
    skeleton("own-nobody-seen.npz", "no joint is seen",
             own(np.full((3, 1, 25, 3), np.nan, np.float32))),
    skeleton("own-60-people.npz", "60 people", own(np.ones((1, 60, 25, 3), np.float32))),
    skeleton("own-infinite.npz", "beyond", own(np.full((1, 1, 25, 3), np.inf, np.float32))),
    skeleton("own-confidence.npz", "confidence", own(confidence=np.ones((2, 2)))),
    skeleton("own-confidence-text.npz", "confidence",
             own(confidence=np.full((3, 1, 25), "a"))),
    skeleton("own-zeros-of-2-GB.npz", "unpacks to",
             states(2_000_000_000, own(header("(7000000, 1, 25, 3)", rest=bytes(1 << 20))))),
    skeleton("own-half-precision.npz", "1.5 GB of memory",
             lambda path: own(header("(1700000, 1, 25, 3)", "'<f2'", bytes(255_000_000)))(path)),
    skeleton("own-header-code.npz", "not an array of NumPy",
             own(header("__import__('os').system('true')"))),
    skeleton("own-header-deep.npz", "not an array of NumPy", own(header("(" * 3000))),
    skeleton("own-header-negative.npz", "states|not of|cannot", own(header("(-1, -1, 25, 3)"))),
    skeleton("own-header-huge.npz", "states", own(header(f"({'9' * 30},)"))),
    skeleton("own-header-objects.npz", "not plain numbers", own(header("(1,)", "'|O'"))),
    skeleton("own-header-empty-type.npz", "not plain numbers",
             own(header("(9999999999,)", "'|S0'"))),
    skeleton("own-header-fields.npz", "not plain numbers",
             own(header("(1,)", "[('a', '<f4'), ('b', '|O')]"))),
    skeleton("own-version-9.npz", "not an array of NumPy", own(b"\x93NUMPY\x09\x00" + bytes(64))),
    # CTR-GCN
    skeleton("ctr-text-labels.npz", "labels that are numbers",
             npz({"x_train": np.ones((1, 3, 150), np.float32), "y_train": np.array(["a"])})),
    skeleton("ctr-no-labels.npz", "labels that are numbers",
             npz({"x_train": np.ones((1, 3, 150), np.float32), "y_train": np.zeros((1, 0))})),
    skeleton("ctr-few-labels.npz", "fewer labels",
             npz({"x_train": np.ones((2, 3, 150), np.float32), "y_train": np.float32(1)})),
    skeleton("ctr-flat.npz", "x_train is of shape", npz({"x_train": np.ones(5, np.float32)})),
    skeleton("ctr-7-numbers.npz", "7 numbers", npz({"x_train": np.ones((1, 3, 7), np.float32)})),
    # Pickles
    skeleton("pickle-keys-that-hash-for-ever.pkl", "a key in it",
             raw_pickle(b"}", DEEP, b"K\x01s")),
    skeleton("pickle-memo-of-2-GB.pkl", "numbers an object", raw_pickle(b"Nr\xff\xff\xff\x0f")),
    skeleton("pickle-set.pkl", "EMPTY_SET", data(b"\x80\x04\x8f(" + DEEP + b"\x90.")),
    skeleton("pickle-code.pkl", "nothing of it was run",
             raw_pickle(b"cos\nsystem\nX\x04\0\0\0true\x85R")),
    skeleton("pickle-instance.pkl", "INST", raw_pickle(b"(X\x04\0\0\0trueios\nsystem\n")),
    skeleton("pickle-extension.pkl", "EXT1", raw_pickle(b"\x82\x01")),
    skeleton("pickle-persistent.pkl", "PERSID", raw_pickle(b"P1\n")),
    skeleton("pickle-nothing.pkl", "not a readable pickle|list", raw_pickle(b"")),
    skeleton("pickle-deep.pkl", "readable|list", raw_pickle(b"]" * 100_000, b"a" * 99_999)),
    skeleton("pickle-label-tree.pkl", "name or label", pickled(label=shared(40))),
    skeleton("pickle-name-tree.pkl", "name or label", pickled(frame_dir=shared(40))),
    skeleton("pickle-size-text.pkl", "width is|height is", pickled(img_shape=("a", "b"))),
    skeleton("pickle-size-huge.pkl", "width is|height is", pickled(img_shape=(1, 10**400))),
    skeleton("pickle-no-array.pkl", "no array 'keypoint'", pickled(keypoint=[1, 2])),
    skeleton("pickle-60-people.pkl", "shape",
             pickled(keypoint=np.ones((60, 1, 17, 2), np.float32))),
    skeleton("pickle-rows-of-text.pkl", "annotations", data(pickle.dumps({"annotations": ["a"]}))),
    skeleton("pickle-number.pkl", "annotations", data(pickle.dumps(7))),
    # JSON
    skeleton("ucla-twice.json", "twice", text('{"skeletons": [], "skeletons": []}')),
    skeleton("ucla-infinite.json", "not finite", text('{"skeletons": [[[1e999, 0, 0]]]}')),
    skeleton("ucla-nan.json", "not a number", text('{"skeletons": [[[NaN, 0, 0]]]}')),
    skeleton("ucla-400-digits.json", "401 digits", text('{"skeletons": [[[1' + "0" * 400 + "]]]}")),
    skeleton("ucla-200-digits.json", "beyond", as_json({"skeletons": [[[BIG, 0, 0]] * 20]})),
    skeleton("ucla-ragged.json", "lists of numbers", as_json({"skeletons": [[[1, 2, 3]], [[1]]]})),
    skeleton("ucla-text.json", "lists of numbers|shape", as_json({"skeletons": "abc"})),
    skeleton("ucla-none.json", "lists of numbers|shape", as_json({"skeletons": None})),
    skeleton("ucla-deep.json", "nested", text('{"skeletons": ' + "[" * 100_000)),
    skeleton("ucla-empty.json", "shape", as_json({"skeletons": []})),
    skeleton("ucla-label-tree.json", "name or label",
             as_json({"skeletons": [[[1, 2, 3]] * 20], "label": [[1]]})),
    skeleton("ucla-2-GB-of-lists.json", "1.5 GB",
             text('{"skeletons": [' + "[]," * 15_000_000 + "[]]}")),
    skeleton("coco-400-digits.json", "401 digits",
             text('[{"image_id": 1, "keypoints": [' + ",".join(["1" + "0" * 400] * 51) + "]}]")),
    skeleton("coco-200-digits.json", "beyond",
             as_json([{"image_id": 1, "keypoints": [BIG] * 51}])),
    skeleton("coco-no-image.json", "image_id",
             as_json([{"image_id": None, "keypoints": [1.0] * 51}])),
    skeleton("coco-60-people.json", "50 people", as_json([PERSON] * 60)),
    skeleton("coco-people-who-jump.json", "80 people", as_json(
        [{"image_id": n // 40, "keypoints": [x for j in range(17) for x in (n * 100 + j, j, 1)]}
         for n in range(4000)])),
    skeleton("coco-numbers.json", "image_id", as_json({"annotations": [1, 2],
                                                       "keypoints": 1, "image_id": 1})),
    skeleton("openpose-huge.json", "beyond", as_json(
        {"people": [{"pose_keypoints_2d": [BIG] * 75}]})),
    skeleton("openpose-60-people.json", "50 people", as_json(
        {"people": [{"pose_keypoints_2d": [1] * 75}] * 60})),
    skeleton("openpose-nobody.json", "no person", text('{"people":[]}')),
    skeleton("openpose-other-joints.json", "18 or 25", as_json(
        {"people": [{"pose_keypoints_2d": [1] * 9}]})),
    skeleton("landmarks-without-x.json", "x is missing",
             as_json({"frames": [LANDMARKS, [{"y": 1, "visibility": 1}] * 33]})),
    skeleton("landmarks-huge.json", "x is", text(json.dumps(
        {"frames": [[{"x": BIG, "y": 1, "visibility": 1}] * 33]}))),
    skeleton("landmarks-rate.json", "rate_hz is", text(json.dumps(
        {"frames": [LANDMARKS] * 2, "rate_hz": 10**200}))),
    skeleton("landmarks-34.json", "34 landmarks", text(json.dumps(
        {"frames": [[*LANDMARKS, *LANDMARKS[:1]]] * 2}))),
    skeleton("landmarks-numbers.json", "landmarks", text(json.dumps(
        {"frames": [1, 2], "visibility": 1, "x": 1}))),
    # Tables
    skeleton("table-no-layout.csv", "names no layout", named("# unit=layout=x")),
    skeleton("table-other-layout.csv", "layout", named("# layout=none unit=m rate_hz=1")),
    skeleton("table-no-unit.csv", "unit", named("# layout=coco17 rate_hz=1")),
    skeleton("table-rate-infinite.csv", "rate_hz is inf",
             named("# layout=coco17 unit=px rate_hz=inf")),
    skeleton("table-rate-nan.csv", "rate_hz is nan", named("# layout=coco17 unit=px rate_hz=nan")),
    skeleton("table-rate-tiny.csv", "samples a second",
             named("# layout=coco17 unit=px rate_hz=1e-11")),
    skeleton("table-cell-of-1-MB.csv", "not a table",
             named("# layout=coco17 unit=px rate_hz=1", "x" * 200_000, "1")),
    skeleton("table-times-1e308.csv", "do not rise|apart|gaps", timed("0", "1e308", "1.7e308")),
    skeleton("table-times-negative-1e308.csv", "do not rise|apart|gaps",
             timed("-1.7e308", "0", "1.7e308")),
    skeleton("table-times-5e-324.csv", "apart", timed("0", "5e-324", "1e-323")),
    skeleton("table-times-years.csv", "apart", timed("0", "1e12", "2e12")),
    skeleton("table-times-gap.csv", "gaps", timed("0", "0.001", "0.002", "1e6")),
    skeleton("table-times-nan.csv", "no frame, time", timed("0", "nan", "1")),
    skeleton("table-60-people.csv", "60 people", named(
        "# layout=coco17 unit=px rate_hz=1", "frame,person,0_x",
        *(f"0,{n},1" for n in range(60)))),
    skeleton("table-60-million-cells.csv", "GB of memory",
             named("# layout=coco17 unit=px rate_hz=1", "," * 30_000_000, "1")),
    skeleton("table-utf-16.csv", "no video ends in .csv",
             data("# layout=coco17\na".encode("utf-16"))),
    # Text
    skeleton("ntu-crowd.skeleton", "2.4 GB of memory", ntu_people(60_000, 45)),
    skeleton("ntu-frames-for-ever.skeleton", "cut off", text("999999\n0\n")),
    skeleton("ntu-10-digits.skeleton", "number of", text("9999999999\n1\n")),
    skeleton("ntu-nobody.skeleton", "no body", text("2\n0\n0\n")),
    skeleton("ntu-words.skeleton", "not a number", text(
        "1\n1\n1 0 0 0 0 0 0 0 0 0\n25\n" + ("a " * 12 + "\n") * 25)),
    skeleton("ntu-300-million-lines.skeleton", "GB of memory",
             data(b"1\n0\n" + b"\n" * 30_000_000)),
    skeleton("msr-infinite.txt", "beyond", text("1e300 1 1 0.5\n" * 40)),
    skeleton("msr-21-joints.txt", "not frames of 20", text("1 1 1 0.5\n" * 21)),
    skeleton("msr-words.txt", "not a number", text("1 1 1 0.5\n" * 40 + "a b c d\n")),
    skeleton("sfinge-short.txt", "another number", text(";".join(["1"] * 140) + "\n1;2\n")),
]  # fmt: skip


# IMU

CHANNELS = ",".join(f"acc_{axis}_g" for axis in "xyz")


def table(*rows: str, first: str = f"time_s,{CHANNELS}") -> Make:
    return text("\n".join((first, *rows)) + "\n")


def imu(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("imu", name, says, make)


IMUS = [
    *mats("imu", "d_iner", (50, 6)),
    imu("times-1e308.csv", "do not rise|apart|gaps",
        table("0,1,1,1", "1e308,1,1,1", "1.7e308,1,1,1")),
    imu("times-5e-324.csv", "apart", table("0,1,1,1", "5e-324,1,1,1", "1e-323,1,1,1")),
    imu("times-infinite.csv", "fewer|rise|apart", table("0,1,1,1", "inf,1,1,1", "nan,1,1,1")),
    imu("times-backwards.csv", "rise", table("1,1,1,1", "0,1,1,1", "2,1,1,1")),
    imu("times-gap.csv", "gaps", table("0,1,1,1", "0.001,1,1,1", "0.002,1,1,1", "1e6,1,1,1")),
    imu("times-gap-of-4-GB.csv", "GB of memory|gaps", lambda path: table(
        *(f"{n / 1e6:.6f},1,1,1" for n in range(500_000)), "49,1,1,1")(path)),
    imu("values-1e308.csv", "unit", table("0,1e308,1,1", "1,1,1,1", "2,1,1,1")),
    imu("values-words.csv", "not a number", table("0,a,1,1", "1,1,1,1")),
    imu("nothing-known.csv", "no sample", table("0,,,", "1,,,", "2,,,")),
    imu("one-sample.csv", "fewer than two", table("0,1,1,1")),
    imu("ragged.csv", "another number of cells", table("0,1,1,1", "1,1")),
    imu("cell-of-200000.csv", "not a table", table("0,1,1,1", "x" * 200_000 + ",1,1,1")),
    imu("open-quote.csv", "not a table|not a number|another number",
        table('0,"1,1,1', "1,1,1,1" * 40_000)),
    imu("rate-zero.csv", "states no rate",
        table("1,1,1", "1,1,1", first=f"# rate_hz=0\n{CHANNELS}")),
    imu("rate-dots.csv", "states no rate",
        table("1,1,1", "1,1,1", first=f"# rate_hz=1.2.3\n{CHANNELS}")),
    imu("rate-tiny.csv", "samples a second", table(
        "1,1,1", "1,1,1", first=f"# rate_hz=0.{'0' * 10}1\n{CHANNELS}")),
    imu("no-clock.csv", "no column of times", table("1,1,1", "1,1,1", first=CHANNELS)),
    imu("no-unit.csv", "has the unit", table("0,1", "1,1", first="time_s,acc_x")),
    imu("1000-devices.csv", "GB of memory|beyond|numbers|read", table(
        *(["0" + ",1" * 20_000] * 200),
        first="time_s," + ",".join(f"d{n}_acc_x_g" for n in range(20_000)))),
]  # fmt: skip


# Audio


def sound(rate: int, samples: int, channels: int = 1) -> Make:
    def make(path: Path) -> None:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(2 * channels * samples))

    return make


def audio(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("audio", name, says, make)


AUDIOS = [
    audio("1-Hz.wav", "over 2 hours", sound(1, 8000)),
    # One frame of 6,000 seconds: FFmpeg would resample it as a whole.
    audio(
        "1-Hz-one-frame.wav",
        r"takes 2\.\d GB of memory",
        data(
            b"RIFF\x04\x2f\0\0WAVEfmt \x10\0\0\0\1\0\1\0\1\0\0\0\2\0\0\0"
            + (12_000).to_bytes(2, "little")
            + b"\x10\0data\xe0\x2e\0\0"
            + bytes(12_000)
        ),
    ),
    audio("2-Hz-short.wav", "over 2 hours", sound(2, 1 << 16)),
    audio("empty.wav", "empty|cannot be read", sound(8000, 0)),
    audio("header-alone.wav", "cannot be read", data(b"RIFF\xff\xff\xff\xffWAVEfmt ")),
    audio("zeros.wav", "cannot be read", data(b"RIFF" + bytes(4096))),
    audio("noise.mp3", "cannot be read|no sound|empty", data(b"ID3" + bytes(range(256)) * 32)),
    audio("noise.flac", "cannot be read|empty", data(b"fLaC" + bytes(range(256)) * 32)),
    audio("noise.ogg", "cannot be read|empty", data(b"OggS" + bytes(range(256)) * 32)),
    audio("noise.aiff", "cannot be read|empty", data(b"FORM" + bytes(range(256)) * 32)),
    audio("noise.m4a", "cannot be read|empty", data(b"\0\0\0\x20ftypM4A " + bytes(512))),
]

# Depth


def png(width: int, height: int, content: bytes = b"") -> bytes:
    """A picture of one channel of 16 bits."""

    def chunk(kind: bytes, inner: bytes) -> bytes:
        return struct.pack(">I", len(inner)) + kind + inner + struct.pack(
            ">I", zlib.crc32(kind + inner))  # fmt: skip

    lines = content or zlib.compress(bytes(1 + 2 * width) * height, 9)
    size = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def pictures(**files: bytes | Make) -> Make:
    """A folder; ``_`` in a name stands for a dot."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / name.removeprefix("p").replace("_", ".")
            content(file) if callable(content) else file.write_bytes(content)

    return make


def depth(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("depth", name, says, make)


SMALL = png(4, 4)
DEPTHS = [
    *mats("depth", "d_depth", (4, 4, 3)),
    depth("cut.npy", "states 48", data(npy(np.ones((2, 3, 4), "<u2"))[:-2])),
    depth("huge-shape.npy", "states", data(header("(99999, 99999, 9999)", "'<u2'", bytes(8)))),
    depth("missing-all.npy", "all its distances", data(npy(np.zeros((2, 3, 4), "<u2")))),
    depth("two-dimensions.npy", "read", data(header("(0, 3, 4, 5)", "'<u2'"))),
    depth("damaged-picture", "damaged", pictures(p1_png=png(4, 4, b"nonsense"))),
    depth("10000-pixels-wide", "10000 x 4", pictures(p1_png=png(10_000, 4, zlib.compress(b"")))),
    depth("pictures-of-134-MB", "GB of memory", pictures(
        **{f"p{n}_png": png(8192, 8192, zlib.compress(b"")) for n in range(1, 20)})),
    depth("one-picture-of-134-MB", "damaged|cut|GB of memory", pictures(
        p1_png=png(8192, 8192, zlib.compress(b"")))),
    depth("colour-next-to-it", "colour|pixels|PNG|shape|read", pictures(
        p1_png=SMALL, p2_png=png(8, 8))),
    depth("facts-deep", "nested", pictures(p1_png=SMALL, depth_json=b"[" * 10_000)),
    depth("facts-list", "not an object", pictures(p1_png=SMALL, depth_json=b"[1]")),
    depth("facts-unit", "unit_m is", pictures(p1_png=SMALL, depth_json=b'{"unit_m": 1e300}')),
    depth("facts-400-digits", "digits", pictures(
        p1_png=SMALL, depth_json=b'{"unit_m": 1' + b"0" * 400 + b"}")),
    depth("facts-rate", "rate_hz is", pictures(p1_png=SMALL, depth_json=b'{"rate_hz": 0}')),
    depth("facts-pipe", "named pipe", pictures(p1_png=SMALL, depth_json=things.fifo)),
    depth("facts-zeros", "device", pictures(p1_png=SMALL, depth_json=things.zeros)),
    depth("facts-sparse", "at most", pictures(p1_png=SMALL, depth_json=things.sparse)),
]  # fmt: skip


# Events


def event(name: str, says: str, make: Make) -> SensorCase:
    return SensorCase("events", name, says, make)


MOVES = event_files.made()
FAR = event_files.made(size=(300, 400))
EVENTS = [
    event("beyond.dat", "x = 399.*beyond the size", data(
        event_files.dat(FAR, size="% Height 300\n% Width 340\n"))),
    event("dat-version-1.dat", "version 1", data(event_files.dat(MOVES, version=1))),
    event("dat-falls.dat", "times fall", data(event_files.dat(MOVES[::-1]))),
    event("dat-header-alone.dat", "8 bytes|no event", data(event_files.dat(MOVES[:0]))),
    event("dat-huge-size.dat", "size", data(
        event_files.dat(MOVES, size="% Height 999999\n% Width 9999999\n"))),
    event("aedat-9.aedat", "version '9.0'", data(b"#!AER-DAT9.0\r\n" + bytes(64))),
    event("aedat2-header-alone.aedat", "no event", data(b"#!AER-DAT2.0\r\n# AEChip: DVS128\r\n")),
    event("aedat2-chip.aedat", "chip is not known", data(
        event_files.aedat2(MOVES, chip="AEChip: cochlea"))),
    event("aedat3-huge-packet.aedat", "damaged", data(
        event_files.aedat3(MOVES)[:60]
        + struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, *[(1 << 32) - 1] * 3))),
    event("aedat3-no-width.aedat", "damaged", data(
        event_files.aedat3(MOVES)[:60] + struct.pack("<HHIIIIII", 1, 1, 0, 4, 0, 9, 9, 9) * 9)),
    event("aedat4-cut.aedat4", "header is damaged|extra 'events'", data(
        b"#!AER-DAT4.0\r\n" + bytes(9))),
    event("aedat4-noise.aedat4", "header is damaged|extra 'events'", data(
        b"#!AER-DAT4.0\r\n" + b"\xff\xff\xff\x7f" * 90)),
    event("evt-2.1.raw", "version 2.1", data(event_files.evt2(MOVES, head="% evt 2.1\n"))),
    event("evt2-no-time.raw", "no event", data(b"% evt 2.0\n" + b"\x05\x10\x00\x10" * 99)),
    event("evt3-one-pixel.raw", "one pixel", data(event_files.evt3(np.repeat(MOVES[:1], 40)))),
    event("evt3-far.raw", "beyond the size|coordinates", data(
        b"% evt 3.0\n% geometry 640x480\n% height=480\n% width=640\n"
        + event_files.evt3(FAR, head="") + b"\xff\x4f" * 9000)),
    event("no-unit.csv", "no unit of time", data(event_files.table(MOVES, "t,x,y,p"))),
    event("words.csv", "convert string", text("t_us,x,y,p\n1,2,3,1\n1,two,3,1\n")),
    event("far.csv", "0 to 65535", text("t_us,x,y,p\n1,1e300,3,1\n2,1,1,1\n")),
    event("infinite.csv", "times are not all", text("t_us,x,y,p\ninf,1,3,1\n2,1,1,1\n")),
    event("header-alone.csv", "no event", text("t_us,x,y,p\n")),
    event("one-line-of-80-MB.csv", "over 64 MB", lambda path: path.write_bytes(
        b"t_us,x,y,p\n" + b"1" * 80_000_000) and None),
    event("one-pixel.npy", "one pixel", data(npy(np.repeat(MOVES[:1], 40)))),
    event("no-event.npy", "no event", data(npy(MOVES[:0]))),
    event("table-2d.npy", "one-dimensional", data(npy(MOVES.reshape(2, -1)))),
    event("huge-shape.npy", "no event", data(header(
        "(99999999999,)", "[('x','<u2'),('y','<u2'),('t','<i8'),('p','|b1')]"))),
    event("objects.npy", "one-dimensional", data(header(
        "(4,)", "[('x','<u2'),('y','<u2'),('t','<i8'),('p','<i1'),('q','|O')]", bytes(99)))),
    event("lengths.npz", "equally long", npz(
        {"x": np.ones(3), "y": np.ones(3), "t": np.ones(2), "p": np.ones(3)})),
    event("objects.npz", "not plain numbers", npz({"events": header(
        "(4,)", "[('x','<u2'),('y','<u2'),('t','<i8'),('p','|O')]", bytes(99))})),
]  # fmt: skip

SENSOR_CASES = [*SKELETONS, *IMUS, *AUDIOS, *DEPTHS, *EVENTS]
