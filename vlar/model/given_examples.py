"""Examples with labels that a caller holds: a mapping of label to recordings, or pairs.

Arrays are written as folders of PNG frames, which lose nothing, for as long as they are learned
from. So every method reads them as it reads files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from vlar.errors import SupportError
from vlar.heads.support import Support, SupportItem, by_person
from vlar.media.dataset_rows import DataSet, labelled_files
from vlar.media.lookup import reader
from vlar.model.inputs import Recording, frames_of, is_one
from vlar.types import Clip

#: A mapping of label to one or several recordings, or pairs of a recording and its label.
GivenExamples = Mapping[str, Recording | Sequence[Recording]] | Sequence[tuple[Recording, str]]
#: A folder or a CSV file, a ``Support``, examples that the caller holds, or a data set.
Examples = str | Path | Support | GivenExamples | DataSet


@contextmanager
def readable(
    examples: Examples, modality: str, least_labels: int = 2
) -> Generator[str | Path | Support]:
    """The examples as what reads from files takes; arrays lie in a folder until the block ends.

    Args:
        examples: See ``Examples``.
        modality: Name of the reader that names the people of files.
        least_labels: Fewest labels with examples.

    Raises:
        SupportError: they are neither, or have too few labels.
        UsageError: what is not a recording.
    """
    if isinstance(examples, (str, Path, Support)):
        yield examples
        return
    if isinstance(examples, DataSet):
        with labelled_files(examples) as files, readable(files, modality, least_labels) as support:
            yield support
        return
    with tempfile.TemporaryDirectory(prefix="vlar-examples-") as folder:
        pairs = [
            (_path(recording, Path(folder, str(number))), label)
            for number, (recording, label) in enumerate(_pairs(examples))
        ]
        groups = by_person([(path, str(path)) for path, _ in pairs], reader(modality).person)
        items = tuple(
            SupportItem(path, None, (label,), group)
            for (path, label), group in zip(pairs, groups, strict=True)
        )
        labels = tuple(sorted({label for _, label in pairs}))
        if len(labels) < least_labels:
            raise SupportError(f"{len(labels)} labels have examples; give at least {least_labels}")
        yield Support(labels, items, Path("<examples>"))


def _pairs(examples: object) -> list[tuple[Recording, str]]:
    pairs: list[tuple[Recording, str]] = []
    if isinstance(examples, Mapping):
        for label, recordings in cast("Mapping[object, object]", examples).items():
            listed = (
                [recordings]
                if is_one(recordings)
                else list(cast("Sequence[Recording]", recordings))
            )
            if not listed:
                raise SupportError(f"the label {label!r} has no example; give it one or remove it")
            pairs += [(recording, str(label)) for recording in listed]
        return pairs
    listed = cast("Sequence[object]", examples if isinstance(examples, Sequence) else [examples])
    for pair in listed:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise SupportError(
                f"cannot learn from {pair!r:.80}; give a folder, a CSV file, "
                "{label: [recordings]} or pairs (recording, label)"
            )
        recording, label = cast("tuple[Recording, object]", pair)
        pairs.append((recording, str(label)))
    return pairs


def _path(recording: Recording, folder: Path) -> Path:
    """The path of a recording; an array is written as frames first."""
    if isinstance(recording, (str, Path)):
        return Path(recording)
    from PIL import Image

    frames = frames_of(recording.data if isinstance(recording, Clip) else recording)
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:06d}.png", compress_level=1)
    return folder
