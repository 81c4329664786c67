"""Every registered layout finds, reads and refuses as ``vlar/evaluation/datasets/base.py`` says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import fake_datasets
from tests.refusals import refused
from vlar import registry
from vlar.errors import DatasetError, ProtocolError
from vlar.evaluation.datasets.base import DatasetSplit, detect, read_dataset

NAMES = registry.names("dataset")


def csv(root: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        fake_datasets.make_clip(root / f"{name}.mp4", seed)
    lines = ["path,label,note,split", "a.mp4,run,x,train", "b.mp4,jump,x,test", "c.mp4,run,x,test"]
    (root / "clips.csv").write_text("\n".join(lines))
    return root


MAKERS = {**fake_datasets.MAKERS, "csv": csv}


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A layout's name and a data set of it; a part without a maker fails here."""
    return request.param, MAKERS[request.param](tmp_path_factory.mktemp("data"))


def read(made: tuple[str, Path]) -> DatasetSplit:
    return read_dataset(made[1], made[0])


def test_the_folder_is_recognised(made: tuple[str, Path]):
    assert detect(made[1]) == made[0]


def test_all_listed_clips_are_there_with_labels_of_the_list(made: tuple[str, Path]):
    data = read(made)
    assert data.layout == made[0]
    assert data.subsets
    assert len(set(data.labels)) == len(data.labels) >= 2
    for subset in data.subsets.values():
        assert subset.items
        assert not subset.missing
        for item in subset.items:
            assert item.path.is_file()
            assert item.labels
            assert set(item.labels) <= set(data.labels)
            assert item.group


def test_train_and_test_share_no_recording(made: tuple[str, Path]):
    subsets = list(read(made).subsets.values())
    paths = [{item.path for item in subset.items} for subset in subsets]
    assert sum(map(len, paths)) == len(set().union(*paths))


def test_a_missing_recording_is_listed_where_it_was_looked_for(
    made: tuple[str, Path], tmp_path: Path
):
    root = Path(shutil.copytree(made[1], tmp_path / "copy"))
    endings = (".avi", ".mp4", ".webm", ".MP4", ".aedat4")
    lost = sorted(f for f in root.rglob("*") if f.suffix in endings)[0]
    before = read_dataset(root, made[0])
    n_listed = sum(map(len, before.subsets.values()))
    lost.unlink()
    data = read_dataset(root, made[0])
    gone = [item for subset in data.subsets.values() for item in subset.missing]
    if made[0] == "folder":  # what is in the folders is the list
        assert sum(map(len, data.subsets.values())) == n_listed - 1
        return
    assert sum(map(len, data.subsets.values())) == n_listed
    assert {item.path.stem for item in gone} == {lost.stem}
    assert data.labels == before.labels
    assert data.files == before.files


def test_hashes_follow_the_content_and_not_the_line_ends(made: tuple[str, Path], tmp_path: Path):
    root = Path(shutil.copytree(made[1], tmp_path / "copy"))
    data = read_dataset(root, made[0])
    texts = [f for f in root.rglob("*") if f.suffix in (".txt", ".csv", ".json")]
    if not texts:
        assert made[0] == "folder"
        return
    assert data.files
    for file in texts:
        file.write_bytes(file.read_bytes().replace(b"\n", b" \r\n"))
    assert read_dataset(root, made[0]).files == data.files


def test_an_unknown_option_and_a_missing_folder_are_named(made: tuple[str, Path], tmp_path: Path):
    refused(ProtocolError, "'fold'", read_dataset, made[1], made[0], {"fold": 1})
    refused(DatasetError, "no such folder", read_dataset, tmp_path / "nowhere", made[0])


def test_an_empty_folder_is_no_data_set(tmp_path: Path):
    refused(DatasetError, "no layout fits", read_dataset, tmp_path)
