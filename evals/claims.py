"""Skeleton towers with the part that their papers claim, and without it, by seeds.

    python evals/claims.py --data DIR [--set-name utd] [--methods NAME ...] [--seeds 0 1 2 3 4]
        [--set K=V ...] [--shuffled] [--changed] [--cache DIR] [--json FILE]

``with`` is the method. ``without`` is the same tower with its own part switched off by settings;
both of a seed meet the clips in the same order, and the seed draws the start too. ``foreign`` keeps
the part without its matter: ProtoGCN's memories get the labels of a batch shuffled, GAP the texts
of other labels, STC-Net's curves lead to joints by chance. Where ``foreign`` is as good as
``with``, the part has not shown its claim. Of CHASE ``foreign`` is the plain network with the root
of the body at the origin, without the moves of scenes that teach CHASE. Class heads answer;
``--shuffled`` trains the first seed of ``with`` on shuffled labels too, and ``--changed`` asks the
changed clips of ``towers.py``. Of ``sbu``, the set of two people, a seed is one of its five
published folds too. Results are kept as they are made, and ``gain`` has the mean
difference by seed with its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from harness import arguments, some, store, stored
from sensors import setting
from towers import LAYOUTS, PEOPLE, Course, course, fold_of_pairs, measure

from vlar.methods.skeleton_towers import curves, tower
from vlar.methods.skeleton_towers.published import TowerPrototypes

SHOWN = ("alone", "stacked", "auto", "frames shuffled", "scene moved", "loss", "train_accuracy")
COSTS = ("parameters", "steps", "cpu_minutes")


class Claim(NamedTuple):
    """Settings of a method's twins.

    Attributes:
        method: Registered name of the twin ``without``, and of ``foreign`` where settings make it.
        without: Settings that switch its own part off.
        foreign: Settings of the control; None where ``foreign_part`` makes it.
    """

    method: str
    without: dict[str, Any]
    foreign: dict[str, Any] | None = None


CLAIMS = {
    "protogcn": Claim("protogcn", {"weights": "0"}),
    "gap": Claim("gap", {"heads": "whole"}),
    "stc-net": Claim("stc-net", {"time": "scales"}),
    "chase": Claim("ctr-gcn", {}, {"normalise": "root,scale", "shift": 0}),
}


def foreign_part(method: str, seed: int) -> AbstractContextManager[Any]:
    """A method whose own part lacks its matter, for as long as it is entered."""
    random = torch.Generator().manual_seed(seed)
    if method == "protogcn":
        plain = TowerPrototypes.forward

        def shuffled(self: Any, network: Any, reading: Any, answers: Any) -> torch.Tensor:
            order = torch.randperm(len(answers.y), generator=random)
            return plain(self, network, reading, answers._replace(y=answers.y[order]))

        return patch.object(TowerPrototypes, "forward", shuffled)
    if method == "gap":
        told = tower.part_texts

        def others(labels: Sequence[str]) -> torch.Tensor:
            order = np.random.default_rng(seed).permutation(len(labels))
            return told(labels)[:, order]

        return patch.object(tower, "part_texts", others)

    def chance(query: torch.Tensor, key: torch.Tensor, seen: Any = None) -> torch.Tensor:
        rows, _, frames, joints = query.shape
        ends = torch.randint(joints, (rows, frames - 1, joints), generator=random)
        return torch.nn.functional.one_hot(ends, joints).to(query)

    return patch.object(curves, "links", chance)


def gain(rows: dict[str, dict[str, Any]], other: str, what: str) -> str:
    """Mean difference of ``with`` to another row by seed, and its standard error."""
    seeds = [s for s in rows["with"] if s in rows.get(other, {})]
    steps = np.array([rows["with"][s][what] - rows[other][s][what] for s in seeds])
    error = steps.std(ddof=1) / np.sqrt(len(steps)) if len(steps) > 1 else float("nan")
    return f"{steps.mean():.1f} ± {error:.1f}, {len(steps)} seeds"


def main() -> None:
    """Measure what is missing, and print a line for each result."""
    given = arguments(
        __doc__, "data", "json", set_name={"default": "utd", "choices": list(LAYOUTS)},
        methods=some(["gap", "stc-net", "protogcn"], choices=list(CLAIMS)),
        seeds=some(range(5)),
        set={"nargs": "+", "type": setting, "default": [], "dest": "settings"},
        shuffled=(False, "the first seed also with shuffled labels"),
        changed=(False, "changed clips too"), cache=Path("/tmp/vlar-towers"),
    )  # fmt: skip
    torch.set_num_threads(1)
    results: dict[str, Any] = stored(given.json, {"set": given.set_name})

    @cache
    def clips_of(seed: int, permuted: bool) -> Course:
        if given.set_name == "sbu":
            return fold_of_pairs(given.data, 1 + seed % 5, permuted)
        return course(given.set_name, given.data, permuted, False)

    first, then = ["with", "without"], ["foreign", *["labels shuffled"] * given.shuffled]
    order = [row for k in (first, then) for row in product(given.seeds, given.methods, k)]
    for seed, method, kind in order:
        rows = results.setdefault(method, {})
        permuted = kind == "labels shuffled"
        if str(seed) in rows.get(kind, {}) or (permuted and seed != given.seeds[0]):
            continue
        claim = CLAIMS[method]
        data = clips_of(seed if given.set_name == "sbu" else 0, permuted)
        people = PEOPLE.get(given.set_name, 1)
        settings = {"layout": LAYOUTS[given.set_name], "people": people, "readout": "classes"}
        settings |= dict(given.settings)
        name, how = method, nullcontext()
        if kind == "without":
            name, settings = claim.method, settings | claim.without
        elif kind == "foreign" and claim.foreign is not None:
            name, settings = claim.method, settings | claim.foreign
        elif kind == "foreign":
            how = foreign_part(method, seed)
        fold = f"-{seed % 5}" if given.set_name == "sbu" else ""
        file = given.cache / f"{given.set_name}{fold}-claims-{int(permuted)}.npz"
        with how:
            row = measure(data, name, settings, seed, file, fold=False, changed=given.changed)
        rows.setdefault(kind, {})[str(seed)] = {k: row[k] for k in (*SHOWN, *COSTS) if k in row}
        measured = [what for what in ("alone", "stacked", "scene moved") if what in row]
        rows["gain"] = {
            f"{what}, over {other}": gain(rows, other, what)
            for what, other in product(measured, ("without", "foreign"))
            if other in rows
        }
        print(f"{method}, {kind}, seed {seed}: {rows[kind][str(seed)]}; {rows['gain']}", flush=True)
        store(given.json, results)


if __name__ == "__main__":
    main()
