"""What a file of torch may be before it is unpickled, and what its tensors may state."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from tests.hostile import cases
from tests.hostile.kit import Kit
from tests.refusals import refused
from vlar.files.checkpoints import check_archive, check_tensors, tensors_in


def test_what_torch_saves_is_sound(tmp_path: Path) -> None:
    tied = torch.ones(3, 4)
    stored = {"model": {"a": tied, "b": tied, "t": tied.t()}, "steps": [torch.zeros(2), 3]}
    torch.save(stored, tmp_path / "a.pt")
    assert check_archive(tmp_path / "a.pt")
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    check_tensors(loaded, (tmp_path / "a.pt").stat().st_size)
    assert {name for name, _ in tensors_in(loaded)} == {"model.a", "model.b", "model.t", "steps.0"}
    torch.save(stored, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert not check_archive(tmp_path / "old.pt")


def test_a_compressed_entry_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    refused(ValueError, "compressed", check_archive, tmp_path / "a.pt")


def test_a_stretched_tensor_is_refused(tmp_path: Path) -> None:
    stretched = {"a": torch.zeros(1).expand(1000, 1000)}
    refused(ValueError, "larger than the 4 bytes", check_tensors, stretched, 10_000_000)
    many = {str(i): torch.zeros(1000) for i in range(9)}
    with pytest.raises(ValueError, match="4 times"):
        check_tensors(dict.fromkeys(map(str, range(10_000)), many["0"]), 4_000)


def test_a_tree_without_end_is_refused(tmp_path: Path) -> None:
    from vlar.errors import ModelError
    from vlar.training.clip_weights import leaves, load_inert

    cases.laughs(Kit(tmp_path, tmp_path, tmp_path), tmp_path / "a.pt")
    stored = load_inert(tmp_path / "a.pt")
    refused(ModelError, "entries", list, leaves(stored["config"]))
    assert dict(leaves({"a": {"b": 1}, "c": 2})) == {"b": 1, "c": 2}
