"""Search by another sensor: IMU and joints ask for colour video, joints for IMU (UTD-MHAD).

Pairs of four people, without labels, teach a link (``vlar.library.query.links``); takes of the two
others ask for the takes of these two, their own one left out. All 15 choices of four people are
averaged, and 20 draws of the pairs for each. The share is that of queries whose first answer shows
the same action. Next to it: the same question asked by the sensor of the library itself, and the
control that must fail, pairs in a shuffled order. Each choice of people has orders of its own: an
order leads whole actions to other ones, for all of their takes at once, so the share of one order
lies far from chance on either side. Chance is that of an action drawn; ``a take drawn`` is below
it, because the asker's own take is left out. Penalties are chosen on the teaching pairs alone;
nothing was chosen on the askers.

    python evals/links.py --data DIR [--json FILE] [--pairs 10 25 50] [--trials 4]

DIR is that of ``evals/sensors.py``. Colour has five actions, joints and IMU have 27. ``--trials``
limits the takes of colour, whose encoding takes longest; people teach with at most all of theirs.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, echo, percent, store

from vlar.heads.signatures import available_terms, signature
from vlar.library.query.links import held_out, ridge, sensor_encoder
from vlar.media.lookup import reader

FILES = {
    "video": ("rgb", "color.mp4"),
    "imu": ("inertial", "inertial.mat"),
    "skeleton": ("skeleton", "skeleton.mat"),
}
ASKED = (("imu", "video"), ("skeleton", "video"), ("skeleton", "imu"), ("imu", "skeleton"))
DRAWS = 20


def main() -> None:
    """Print a row for each pair of sensors and number of pairs, and write them as JSON."""
    given = arguments(__doc__, "data", "cache", "json", pairs=[10, 25, 50], trials=4)
    found: dict[str, Any] = {}
    folder = given.data / "utd_mhad"
    read = {sensor: takes(folder, sensor, given.trials, given.cache) for sensor in FILES}
    for asker, asked in ASKED:
        for pairs in given.pairs:
            row = measured(read[asker], read[asked], pairs)
            found[f"{asker} -> {asked}, {pairs} pairs"] = row
            echo(f"{asker} -> {asked}, {pairs} pairs", row)
    store(given.json, found)


def takes(folder: Path, sensor: str, trials: int, cache: Path | None) -> dict[str, tuple[Any, Any]]:
    """Signature and vector of each take, by its name."""
    kept = cache / f"{sensor}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept) as arrays:
            rows = zip(arrays["signatures"], arrays["vectors"], strict=True)
            return dict(zip(arrays["names"].tolist(), rows, strict=True))
    encoder, (part, ending) = sensor_encoder(sensor), FILES[sensor]
    kind = "+".join(available_terms(encoder.frame_blocks))
    found: dict[str, tuple[Any, Any]] = {}
    for path in sorted((folder / part).glob(f"*_{ending}")):
        if sensor == "video" and int(path.name.split("_")[2][1:]) > trials:
            continue
        clip = reader(sensor).read_clip(path, None, encoder.sampling)
        (row,) = encoder.encode([clip])
        statistics = signature(row.features[None], encoder.frame_blocks, kind)[0]
        found[path.name.removesuffix(f"_{ending}")] = statistics, row.vector
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        signatures, vectors = (np.stack(column) for column in zip(*found.values(), strict=True))
        np.savez(kept, names=list(found), signatures=signatures, vectors=vectors)
    return found


def measured(asker: dict[str, Any], asked: dict[str, Any], pairs: int) -> dict[str, Any]:
    """Shares in percent over all choices of the people that teach."""
    names = sorted(asker.keys() & asked.keys())
    actions, people = (np.array([name.split("_")[part] for name in names]) for part in (0, 1))
    signatures = np.stack([asker[name][0] for name in names])
    vectors = np.stack([asked[name][1] for name in names])
    linked, shuffled, same, drawn, stated, seconds = ([] for _ in range(6))
    for choice, teaching in enumerate(itertools.combinations(sorted(set(people)), 4)):
        teach = np.flatnonzero(np.isin(people, teaching))
        ask = np.flatnonzero(~np.isin(people, teaching))
        alike = actions[ask][:, None] == actions[ask]
        np.fill_diagonal(alike, False)
        drawn.append(alike.sum(axis=1) / (len(ask) - 1))
        same.append(first(vectors[ask] @ vectors[ask].T, alike))
        for seed in range(DRAWS):
            draw = np.random.default_rng([seed, pairs, choice])
            some = draw.permutation(teach)[:pairs]
            orders = {"linked": some, "shuffled": draw.permutation(some)}
            for name, order in orders.items():
                begin = time.process_time()
                mean, coefficients = ridge(signatures[some], vectors[order].astype(np.float64))
                scores = (signatures[ask] - mean) @ coefficients @ vectors[ask].T
                seconds.append(time.process_time() - begin)
                (linked if name == "linked" else shuffled).append(first(scores, alike))
            stated.append(held_out(signatures[some], vectors[some], np.arange(len(some))))
    orders_right = np.array([right.mean() for right in shuffled])
    return {
        "actions": len(set(actions)),
        "pairs": min(pairs, len(teach)),
        "link": percent(np.concatenate(linked)),
        "shuffled pairs": percent(np.concatenate(shuffled)),
        "standard error of shuffled": percent([orders_right.std() / len(orders_right) ** 0.5]),
        "same sensor": percent(np.concatenate(same)),
        "chance": percent([1 / len(set(actions))]),
        "a take drawn": percent(np.concatenate(drawn)),
        "stated": percent(stated),
        "seconds": round(float(np.median(seconds)), 3),
    }


def first(scores: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """(N,) whether the first answer other than the query's own take shows the same action."""
    scores = scores.copy()
    np.fill_diagonal(scores, -np.inf)
    return alike[np.arange(len(scores)), scores.argmax(axis=1)]


if __name__ == "__main__":
    main()
