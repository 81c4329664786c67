"""Records that a library keeps: their bytes, and the first hits that they give in place of files.

Clips are encoded whole by ``lite``. Bodies and class probabilities are packed as ``vlar index add
--keep records`` packs them, unpacked, and pooled again. ``bodies`` is a library of ``lite-objects``
that becomes one of ``lite``: objects are copied, bodies are those of the record. ``motion`` asks
the bodies alone. ``scores`` is ``lite-objects`` from class probabilities. ``all`` has both from the
record. Every label is asked of these rows and of rows that were decoded in full. The controls give
each row the record of another clip.

    python evals/kept_records.py --videos DIR --cache DIR [--json FILE] [--every 12]
"""

from __future__ import annotations

import numpy as np
from cached import features_of
from harness import arguments, echo, manifest, percent, store
from kept_frames import hits

import vlar
from vlar.numeric import unit
from vlar.pose.features import POSE_WIDTH
from vlar.pose.packing import pack_bodies, pack_scores, unpack_bodies, unpack_scores

OBJECTS = 1000  # numbers of the first block of vectors and of features


def main() -> None:
    """Print the figures and write them as JSON."""
    given = arguments(__doc__, "videos", "cache", "json", every=12)
    rows = manifest(given.videos)
    rows = rows[:: given.every]
    labels = sorted({row["readable_label"] for row in rows})
    models = {name: vlar.load(name).words for name in ("lite", "lite-objects", "motion")}
    encoder = models["lite"].encoder
    full, kept, sizes = [], [], []
    for row in rows:
        features = features_of(given.videos, row["path"], vlar.load("lite"), given.cache)
        bodies = pack_bodies(features[:, -POSE_WIDTH:])
        scores = pack_scores(features[:, :OBJECTS], encoder.scores_made_by)
        sizes.append((len(bodies), len(scores)))
        again, tops = features.copy(), unpack_scores(scores)[1]
        again[:, -POSE_WIDTH:] = unpack_bodies(bodies) if bodies else 0
        again[:, :OBJECTS] = tops
        full.append(encoder.pool(features[None])[0])
        kept.append(encoder.pool(again[None])[0])
    full, kept = np.stack(full), np.stack(kept)
    found = {
        "rows": len(rows),
        "labels": len(labels),
        "bytes of bodies, median": float(np.median(sizes, axis=0)[0]),
        "bytes of bodies, 95 of 100 below": float(np.quantile(sizes, 0.95, axis=0)[0]),
        "bytes of scores": float(np.median(sizes, axis=0)[1]),
        "a body is seen": percent(np.linalg.norm(full[:, OBJECTS:-1], axis=1) > 0),
    }
    for name, model, columns, changed in (
        ("bodies", "lite", slice(None), slice(OBJECTS, None)),
        ("motion", "motion", slice(OBJECTS, None), slice(OBJECTS, None)),
        ("scores", "lite-objects", slice(OBJECTS), slice(OBJECTS)),
        ("all", "lite", slice(None), slice(None)),
    ):
        words = models[model].encode_queries(labels)
        right = unit(full[:, columns])
        first = hits(models[model], right, words)[:, 0]
        for what, source in (("", kept), (", shuffled", np.roll(kept, 7, axis=0))):
            mixed = full.copy()
            mixed[:, changed] = source[:, changed]
            tried = unit(mixed[:, columns])
            same = hits(models[model], tried, words)
            found[f"{name}{what}, same first"] = percent(same[:, 0] == first)
            near = (same[:, :5] == first[:, None]).any(axis=1)
            found[f"{name}{what}, first in the first five"] = percent(near)
            found[f"{name}{what}, cosine"] = percent([float((right * tried).sum(axis=1).mean())])
    echo(found)
    store(given.json, found)


if __name__ == "__main__":
    main()
