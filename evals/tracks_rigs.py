"""A model of freezing, asked about the same mouse as another laboratory would have recorded it.

    python evals/tracks_rigs.py --data ../shared/behaviour [--seeds 5] [--json FILE]

The quarters of one recording take turns (``tracks.py``, set ``freezing``). What is held out is also
shown at other frame rates, at half and twice the pixels, with other names of points at 30 a second
and 23 pixels a cm, with points left out at random, and with coordinates that jitter. ``f1`` is that
of frames with freezing, ``kappa`` that with the annotation, ``self`` that with the answer about the
recording as it is. The animal is the same: nothing here shows another one.

Control: the labels of half of the bouts are exchanged (``tracks.exchanged``).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from harness import arguments, echo, store, stored
from tracks import STEP_S, Data, cut, exchanged, freezing, steps

import vlar
from vlar.behaviour.measures.agreement import kappa
from vlar.behaviour.tracks.recording import read_tracks

LEARNED_HZ, LEARNED_SCALE, END_S = 50.0, 32.0, 120.0
NAMES = {
    "Nose": "nose", "Left Ear": "l_ear", "Right Ear": "r_ear", "Tailbase": "tailbase",
    "Left Leg": "l_leg", "Right Leg": "r_leg", "Mid-Back": "midback", "Tail": "tail",
}  # fmt: skip
FOUR = ("Nose", "Left Ear", "Mid-Back", "Tailbase")


@dataclass(frozen=True)
class Rig:
    """Way in which a laboratory records.

    Attributes:
        rate_hz: Frames a second.
        scale: Pixels, over those of the recording.
        points: Names of the points that it has.
        renamed: Whether they have other names.
        jitter: Deviation of the coordinates in pixels.
    """

    rate_hz: float = LEARNED_HZ
    scale: float = 1.0
    points: tuple[str, ...] = tuple(NAMES)
    renamed: bool = False
    jitter: float = 0.0


def rigs(seed: int) -> dict[str, Rig]:
    """Rigs by name; the points that are left out are drawn."""
    random = np.random.default_rng(seed)
    other = Rig(30.0, 23 / LEARNED_SCALE, renamed=True)
    rows = {"as it is": Rig(), "half the pixels": Rig(scale=0.5), "twice the pixels": Rig(scale=2)}
    rows |= {f"{rate} a second": Rig(rate) for rate in (15, 25, 30, 100)}
    rows |= {"other names, rate, pixels": other}
    rows |= {"the same, four points": replace(other, points=FOUR)}
    rows |= {f"the same, jitter {j} px": replace(other, points=FOUR, jitter=j) for j in (0.5, 1.0)}
    for count in range(1, 7):
        names = random.permutation(list(NAMES))[count:].tolist()
        rows[f"without {count} points"] = Rig(points=tuple(names))
    return rows


def recorded(source: Path, rig: Rig, target: Path, seed: int) -> Path:
    """The recording as a rig shows it."""
    tracks = read_tracks(source, fps=LEARNED_HZ).tracks
    frames_s = np.arange(len(tracks.points)) / LEARNED_HZ
    clock = np.arange(round(END_S * rig.rate_hz)) / rig.rate_hz
    random = np.random.default_rng(seed)
    columns = {"time_s": clock}
    for name in rig.points:
        values = tracks.points[:, 0, tracks.names.index(name)]
        for axis in (0, 1):
            curve = np.interp(clock, frames_s, values[:, axis]) * rig.scale
            shown = NAMES[name] if rig.renamed else name
            columns[f"{shown}_{'xy'[axis]}"] = curve + rig.jitter * random.normal(size=len(clock))
    table = np.stack(list(columns.values()), axis=1)
    np.savetxt(target, table, "%.5f", ",", header=",".join(columns), comments="")
    return target


def answers(data: Data, seed: int, *, control: bool) -> dict[str, np.ndarray]:
    """(S,) labels of the steps that models of the other quarters answer, by rig."""
    (path,) = data.bouts
    rows = rigs(seed)
    count = round(END_S / STEP_S)
    labels = {name: np.full(count, "", object) for name in rows}
    with tempfile.TemporaryDirectory() as scratch:
        files = {
            name: recorded(path, rig, Path(scratch) / f"{number}.csv", seed)
            for number, (name, rig) in enumerate(rows.items())
        }
        for _, _, part in data.folds:
            bouts = cut(data.bouts[path], part, inside=False)
            bouts = exchanged(bouts, seed) if control else bouts
            model = vlar.behaviour.learn([path], bouts, seed=seed, **data.options)
            for name, file in files.items():
                made = vlar.behaviour.bouts(model, file, force=True)
                part_steps = steps(cut(made, part, inside=True), count)
                labels[name][part_steps != ""] = part_steps[part_steps != ""]
    return labels


def main() -> None:
    asked = arguments(__doc__, "data", "json", seeds=(5, "seeds of forests and draws"))
    results = stored(asked.json, {"rows": {}})
    data = freezing(asked.data)
    (path,) = data.bouts
    truth = steps(data.bouts[path], round(END_S / STEP_S))
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(asked.seeds):
        for control in (False, True):
            labels = answers(data, seed, control=control)
            for name, answer in labels.items():
                pair = truth == "Freezing", answer == "Freezing"
                both = 2 * float((pair[0] & pair[1]).sum())
                figures = {
                    "f1": both / max(1, int(pair[0].sum() + pair[1].sum())),
                    "kappa": kappa(truth.tolist(), answer.tolist()),
                    "self": kappa(labels["as it is"].tolist(), answer.tolist()),
                }
                for key, value in figures.items():
                    rows[name][f"exchanged {key}" if control else key].append(round(value, 3))
    for name, figures in rows.items():
        del figures["exchanged self"]
        results["rows"][name] = dict(figures)
        echo(name, {key: round(float(np.mean(values)), 3) for key, values in figures.items()})
    store(asked.json, results)


if __name__ == "__main__":
    main()
