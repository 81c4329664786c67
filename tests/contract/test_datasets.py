"""Every registered layout keeps the contract that ``vlar.testing`` checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fake_datasets
from tests.refusals import refused
from vlar import registry
from vlar.errors import DatasetError
from vlar.evaluation.datasets.base import read_dataset
from vlar.testing import check_dataset


def csv(root: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        fake_datasets.make_clip(root / f"{name}.mp4", seed)
    lines = ["path,label,note,split", "a.mp4,run,x,train", "b.mp4,jump,x,test", "c.mp4,run,x,test"]
    (root / "clips.csv").write_text("\n".join(lines))
    return root


MAKERS = {**fake_datasets.MAKERS, "csv": csv}


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_it_keeps_the_contract(name: str, tmp_path: Path):
    """A layout that writes no example has a maker here."""
    maker = MAKERS.get(name)
    check_dataset(name, folder=maker(tmp_path / "data") if maker else None)


def test_an_empty_folder_is_no_data_set(tmp_path: Path):
    refused(DatasetError, "no layout fits", read_dataset, tmp_path)
