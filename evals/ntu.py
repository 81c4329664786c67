"""Lists of NTU RGB+D 60 and 120 by their published splits, next to the recordings.

    python evals/ntu.py sets/NTU60 --classes 60
    python evals/ntu.py sets/NTU120 --classes 120 26
    vlar eval evals/published/skeleton-net_ntu60_subject.toml --data sets/ --model MODEL

A recording's name states all that splits go by: ``S001C002P003R002A013.skeleton`` is setup 1,
camera 2, subject 3, repetition 2, action 13. The folder holds recordings at any depth, and the
authors' ``*missing_skeletons.txt``, whose names are left out. Into it go ``ntuCLASSES_labels.txt``
and ``ntuCLASSES_SPLIT_{train,test}.txt``, as the layout ``lists`` reads them: ``subject``
(X-Sub), ``view`` (X-View) and ``setup`` (X-Set); the 26 classes are the actions of two people.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness import arguments, some

from vlar.toml import read_toml

FACTS = read_toml(Path(__file__).with_name("lists").joinpath("ntu.toml").read_text("utf-8"))
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R\d{3}A(\d{3})")
SPLITS = ("subject", "view", "setup")


def labels_of(classes: str) -> dict[int, str]:
    """Labels by the numbers of their actions."""
    spans = FACTS["classes"][classes]
    names = FACTS["names"]["labels"]
    return {n: names[n - 1] for first, last in spans for n in range(first, last + 1)}


def listed(root: Path, classes: str) -> dict[str, list[str]]:
    """Lines ``PATH NUMBER`` of each ``SPLIT_train`` and ``SPLIT_test``."""
    numbers = {action: number for number, action in enumerate(labels_of(classes))}
    lists = root.glob("*missing_skeletons.txt")
    empty = {line.strip() for file in lists for line in file.read_text("utf-8").splitlines()}
    rows: dict[str, list[str]] = {f"{s}_{use}": [] for s in SPLITS for use in ("train", "test")}
    for path in sorted(root.rglob("S*A*")):
        match = NAME.match(path.name)
        if match is None or match[0] in empty or int(match[4]) not in numbers:
            continue
        setup, camera, subject, action = map(int, match.groups())
        teaches = {
            "subject": subject in FACTS["subjects"],
            "view": camera in FACTS["cameras"],
            "setup": setup % 2 == 0,
        }
        line = f"{path.relative_to(root).as_posix()} {numbers[action]}"
        for split, teach in teaches.items():
            rows[f"{split}_{'train' if teach else 'test'}"].append(line)
    return rows


def main() -> None:
    """Write the lists, and print how many recordings each has."""
    given = arguments(
        __doc__,
        root={"positional": True, "type": Path},
        classes=some(["60"], choices=list(FACTS["classes"])),
    )
    for classes in given.classes:
        labels = labels_of(classes).values()
        (given.root / f"ntu{classes}_labels.txt").write_text("\n".join(labels) + "\n", "utf-8")
        for name, lines in listed(given.root, classes).items():
            file = given.root / f"ntu{classes}_{name}.txt"
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            print(f"{file}: {len(lines)} recordings")


if __name__ == "__main__":
    main()
