"""Random changes of a folder and of Milvus, which answer alike after each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

from tests.contract.test_backends import close_to, vectors, video
from tests.unit.library.fakes import DIM, FakeModel
from vlar.library.library import Library
from vlar.library.library_copy import copy_within, digest_of
from vlar.library.manifest import LibraryManifest
from vlar.library.rows import RowFilter
from vlar.library.store.values import Stamp

NAMES = [f"/v/{letter}" for letter in "abcdef"]


def change(libraries: list[Library], draw: np.random.Generator) -> None:
    """One change, the same in both."""
    kind, name, other = draw.integers(5), *draw.choice(NAMES, 2, replace=False)
    n, seed = int(draw.integers(1, 9)), int(draw.integers(1000))
    for library in libraries:
        if kind < 2:
            tags = {"seed": str(seed)} if kind else {}
            library.add_vectors([video(name, n, seed, tags=tags), video(other, n + 1, seed + 1)])
            continue
        if kind == 2:
            library.remove(name)
            continue
        with library._connection.writing() as writer, writer.transaction():
            found, taken = writer.at_path(name), writer.at_path(other)
            if kind == 3 and found is not None:
                writer.update(found.id, path=other, stamp=Stamp(seed, 1))
            if kind == 4 and found is not None and taken is not None:
                copy = writer.put_video(other, "copy", Stamp(seed, 2), 9.0)
                copy_within(writer, found.id, copy, DIM)
                writer.update(copy, tags={"copied": str(seed)})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_changes_leave_both_alike(tmp_path: Path, seed: int):
    draw = np.random.default_rng(seed)
    addresses = [str(tmp_path / "l.vlar"), f"milvus:{tmp_path}/m.db/l"]
    libraries = [Library(address, FakeModel()) for address in addresses]
    for library in libraries:
        library.add_vectors([video("/v/kept", 3, 1)])
    for _ in range(25):
        change(libraries, draw)
        listed = [
            [(row.path, row.windows, dict(row.tags)) for row in library.videos()]
            for library in libraries
        ]
        assert listed[0] == listed[1]
        query = vectors(1, int(draw.integers(1000)))[0]
        near = [[hit.similarity for hit in each.nearest(query, 100)] for each in libraries]
        assert np.allclose(*near, rtol=0, atol=1e-6)
        text = f"words {draw.integers(50)}"
        hits = [each.query(text, 4, min_probability=0.0) for each in libraries]
        close_to(list(hits[0]), list(hits[1]))
    assert digests(libraries[0]) == digests(libraries[1])
    assert [library.verify(files=False) for library in libraries] == [[], []]


def digests(library: Library) -> list[str]:
    """Rows of a recording by their digests, without the time at which it was added."""
    store, _ = library._connection.nonempty()
    with store.snapshot():
        manifest = LibraryManifest.of(store)
        assert manifest is not None
        assert digest_of(store, manifest).rows == store.counts()[1]
        return sorted(
            str((*store.paths([int(video_id)]).values(), *span, vector.tobytes()))
            for rows in store.scan(manifest.dim, RowFilter())
            for video_id, span, vector in zip(
                rows.video_ids, rows.times_s.tolist(), rows.vectors, strict=True
            )
        )
