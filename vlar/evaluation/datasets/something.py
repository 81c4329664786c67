"""``ssv2`` and ``sth-com``: the JSON lists of Something-Something V2 and of its compositions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import (
    TEST,
    TRAIN,
    VALIDATION,
    DatasetLayout,
    DatasetSplit,
    Recordings,
    clip,
    require_label,
    text_hash,
)
from vlar.heads.support import SupportItem
from vlar.language.pairs import pair_label
from vlar.registry import register

_PREFIX = "something-something-v2-"
_FILES = {TRAIN: ("train",), VALIDATION: ("validation", "val"), TEST: ("test",)}
_VIDEOS = ("20bn-something-something-v2", "videos", "frames", "")


@register("dataset", "ssv2")
class SomethingV2(DatasetLayout):
    """``something-something-v2-{labels,train,validation}.json`` or ``{labels,train,..}.json``.

    Recordings are ``ID.webm``. The official test list has no labels and is not read: ``test`` is
    not there, protocols use ``val``.
    """

    videos = _VIDEOS

    def claims(self, root: Path) -> bool:
        return self._file(root, "labels") is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        listed = self.needed(root, f"{_PREFIX}labels.json", "labels.json")
        numbers = cast("dict[str, Any]", _json(listed, dict))
        labels = sorted(numbers, key=lambda label: int(numbers[label]))
        recordings, subsets = Recordings(root, self.videos), {}
        files = {listed.name: text_hash(listed)}
        for name in (TRAIN, VALIDATION):
            file = next((f for s in _FILES[name] if (f := self._file(root, s))), None)
            if file is not None:
                files[file.name] = text_hash(file)
                subsets[name] = recordings.subset(_templates(file, set(labels)))
        return DatasetSplit("ssv2", root, tuple(labels), subsets, files)

    def _file(self, root: Path, stem: str) -> Path | None:
        return self.annotation(root, f"{_PREFIX}{stem}.json", f"{stem}.json")


@register("dataset", "sth-com")
class SthCom(DatasetLayout):
    """``{train,val,test}_pairs.json`` (or ``.json.gz``): ``id, action, verb, object``.

    Clips have parts: the verb (a template of Something-Something V2) and the object. The label is
    the template with the object in its first place.
    """

    videos = _VIDEOS

    def claims(self, root: Path) -> bool:
        return self._file(root, TEST) is not None

    def read(self, root: Path, options: Mapping[str, Any]) -> DatasetSplit:
        recordings, subsets, files = Recordings(root, self.videos), {}, {}
        for name in _FILES:
            file = self._file(root, name)
            if file is not None:
                files[file.name.removesuffix(".gz")] = _json_hash(file)
                subsets[name] = recordings.subset(_pairs(file))
        if not subsets:
            raise DatasetError(f"{root}: no test_pairs.json; put the three lists of Sth-com there")
        every = (item for subset in subsets.values() for item in (*subset.items, *subset.missing))
        labels = sorted({item.label for item in every})
        return DatasetSplit("sth-com", root, tuple(labels), subsets, files)

    def _file(self, root: Path, name: str) -> Path | None:
        return self.annotation(root, f"{name}_pairs.json", f"{name}_pairs.json.gz")


def _templates(file: Path, labels: set[str]) -> Iterator[tuple[SupportItem, list[str]]]:
    for number, row in _rows(file, ("id", "template")):
        label = str(row["template"]).replace("[", "").replace("]", "")
        yield clip([require_label(label, labels, file, number)], str(row["id"])), [str(row["id"])]


def _pairs(file: Path) -> Iterator[tuple[SupportItem, list[str]]]:
    for _, row in _rows(file, ("id", "verb", "object")):
        verb, noun = str(row["verb"]), str(row["object"])
        item = clip([pair_label(verb, noun)], str(row["id"]), None, {"verb": verb, "object": noun})
        yield item, [str(row["id"])]


def _rows(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(cast("list[Any]", _json(file, list)), start=1):
        cells = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        lacking = [name for name in needed if name not in cells]
        if lacking:
            raise DatasetError(f"{file}, entry {number}: no {lacking[0]!r}")
        yield number, cells


def _text(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error


def _json(file: Path, kind: type) -> Any:
    try:
        data = json.loads(_text(file).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, kind):
        raise DatasetError(f"{file}: holds a {type(data).__name__}, not a {kind.__name__}")
    return data


def _json_hash(file: Path) -> str:
    import hashlib

    lines = [line.rstrip() for line in _text(file).decode("utf-8-sig").splitlines()]
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
