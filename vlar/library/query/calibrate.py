"""The calibration of a library's lists (``vlar query --miss``) by labelled clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlar.library.connection import LibraryConnection
from vlar.library.query.answer import answer
from vlar.library.query.guarantee import KEY, MissCalibration, scores_of
from vlar.library.query.plan import QueryRequest
from vlar.types import Float32


def calibrate(
    connection: LibraryConnection, labels: Sequence[str], vectors: Float32, name: str
) -> MissCalibration:
    """The calibration of a library by labelled clips, which the library keeps from then on.

    Each label is asked of the library with the labelled clip in it.

    Args:
        connection: The library.
        labels: N labels.
        vectors: (N, D) of the clips that show them.
        name: What they are, for people.

    Raises:
        LibraryError: the library is empty, or cannot be written to.
    """
    with connection.mutex:
        store, manifest = connection.nonempty()
        model = connection.models.loaded(manifest)
        recordings = store.counts()[0]
    right, best = np.zeros(len(labels)), np.zeros(len(labels))
    for label in dict.fromkeys(labels):
        rows = [row for row, other in enumerate(labels) if other == label]
        words = model.encode_queries([label])[0]
        alone = np.asarray(model.match_probability(vectors[rows], words), np.float64)
        right[rows] = model.moment(alone)
        hits = answer(connection, QueryRequest(label, 1, min_probability=0.0, rerank=None))
        best[rows] = hits[0].probability if hits else 0.0
    scores = tuple(sorted(scores_of(right, best).tolist()))
    calibration = MissCalibration(name, manifest.fingerprint, {recordings: scores})
    with connection.writing() as writer, writer.transaction():
        writer.set_meta({KEY: calibration.to_json()})
    return calibration
