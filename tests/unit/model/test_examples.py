"""Reading many examples: what is refused before hours of reading, and which ones are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from vlar.errors import SupportError
from vlar.heads.support import Support, SupportItem, read_support
from vlar.model import examples
from vlar.model.core import ModelCore
from vlar.model.model import Model


@pytest.fixture
def core(lite_model: Model) -> ModelCore:
    return lite_model.words


def table(folder: Path, rows: list[str]) -> Support:
    file = folder / "support.csv"
    file.write_text("\n".join(["path,label", *rows]), "utf-8")
    return read_support(file)


def never(*_: object, **__: object) -> None:
    raise AssertionError("a recording was read")


def test_a_label_without_any_recording_is_named_before_one_is_read(
    core: ModelCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos.make_video(tmp_path / "a.mp4", 4, fps=5)
    support = table(tmp_path, ["a.mp4,wave", "gone.mp4,sit"])
    monkeypatch.setattr(ModelCore, "encode", never)
    with pytest.raises(SupportError, match=r"no example of 'sit'.*gone\.mp4: no such file"):
        examples.read_complete(core, support, support.items)


def test_absent_recordings_fail_in_their_order(core: ModelCore, tmp_path: Path):
    videos.make_video(tmp_path / "a.mp4", 4, fps=5)
    (tmp_path / "empty.mp4").touch()
    support = table(
        tmp_path, ["x.mp4,sit", "a.mp4,wave", "empty.mp4,wave", "y.mp4,wave", "a.mp4,sit"]
    )
    found = examples.read_complete(core, support, support.items)
    assert [row.path.name for row in found.failed] == ["x.mp4", "empty.mp4", "y.mp4"]
    assert [item.path.name for item in found.items] == ["a.mp4", "a.mp4"]
    assert [item.label for item in found.items] == ["wave", "sit"]
    assert all(row.kind == "decode" for row in found.failed)


def test_more_features_than_memory_are_refused_at_once(
    core: ModelCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos.make_video(tmp_path / "a.mp4", 4, fps=5)
    each = 4 * core.encoder.n_frames * core.encoder.frame_dim
    support = table(tmp_path, ["a.mp4,wave", "a.mp4,sit"] * 4 + ["gone.mp4,sit"] * 100)
    monkeypatch.setattr(examples, "_memory_bytes", lambda: 8 * each)
    examples.check_memory(core, support.items)  # absent recordings take none
    monkeypatch.setattr(examples, "_memory_bytes", lambda: 8 * each - 1)
    with pytest.raises(SupportError, match=r"8 examples take .* GB.* --shots 1"):
        examples.check_memory(core, support.items)
    monkeypatch.setattr(examples, "_memory_bytes", lambda: None)
    examples.check_memory(core, support.items)


def test_adapting_asks_for_the_memory_first(
    lite_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos.make_video(tmp_path / "a.mp4", 4, fps=5)
    support = table(tmp_path, ["a.mp4,wave", "a.mp4,sit"])
    monkeypatch.setattr(examples, "_memory_bytes", lambda: 1)
    monkeypatch.setattr(ModelCore, "encode", never)
    for method in ("auto", "temporal"):
        with pytest.raises(SupportError, match=r"support\.csv: the features of 2 examples"):
            lite_model.adapt(support, method=method)


def slowly_drawn(support: Support, shots: int, seed: int) -> list[SupportItem]:
    """The definition: for each label in turn, of the examples that no label before has drawn."""
    random = np.random.default_rng(seed)
    drawn: list[SupportItem] = []
    for label in support.labels:
        items = [item for item in support.items if label in item.labels and item not in drawn]
        order = [items[i] for i in random.permutation(len(items))]
        place = {
            id(item): [o.group for o in order[:n]].count(item.group) for n, item in enumerate(order)
        }
        drawn += sorted(order, key=lambda item: place[id(item)])[:shots]
    return drawn


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_shots_are_drawn_by_their_definition(rows, shots, seed):
    items = tuple(
        SupportItem(Path(f"{path}.mp4"), None, tuple(labels), str(group))
        for path, labels, group in rows
    )
    labels = tuple(sorted({label for item in items for label in item.labels}))
    support = Support(labels, items, Path("s"))
    assert examples.draw(support, shots, seed) == slowly_drawn(support, shots, seed)
