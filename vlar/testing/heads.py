"""The contract of a head that a model folder holds under its name, as a check."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from vlar import registry
from vlar.errors import ModelError
from vlar.heads.base import ModelHead
from vlar.model.folder import Manifest, holds_head
from vlar.model.model import Model
from vlar.model.model import load as load_model
from vlar.testing.contract import name_of, refused, registered, run


@dataclass
class HeadMaterial:
    """A head and its name.

    Attributes:
        name: Registered name.
        head: An example of it.
    """

    name: str
    head: ModelHead


def check_head(part: Any) -> None:
    """Save and restore the example of a head, alone and in a model folder.

    Args:
        part: The class, an object of it, or a registered name.

    Raises:
        AssertionError: it breaks the contract of ``vlar.heads.base.ModelHead``.
    """
    name = part if isinstance(part, str) else name_of("head", part)
    part = registry.get("head", part) if isinstance(part, str) else part
    cls: type[ModelHead] = part if isinstance(part, type) else type(part)
    with registered("head", name, cls):
        run("head", name, STEPS, HeadMaterial(name, cls.example()))


def _same(first: ModelHead, second: ModelHead) -> None:
    assert type(first) is type(second)
    assert first.config() == second.config()
    arrays = second.state()
    assert first.state().keys() == arrays.keys()
    for key, array in first.state().items():
        np.testing.assert_array_equal(array, arrays[key])


def _name(m: HeadMaterial) -> None:
    """Names differ from the entries and the files of a model folder."""
    assert m.name not in {*Manifest.model_fields, "adaptation", "statistics"}
    assert not m.name.startswith("adapter")


def _restored(m: HeadMaterial) -> None:
    """A head is the same after its configuration was JSON and its arrays were safetensors."""
    state = {key: np.ascontiguousarray(array) for key, array in m.head.state().items()}
    assert state, "it has no array"
    config = json.loads(json.dumps(m.head.config()))
    _same(type(m.head).restore(config, load(save(state))), m.head)


def _malformed(m: HeadMaterial) -> None:
    """A folder of another person is refused where an entry or an array is missing."""
    config, state = m.head.config(), m.head.state()
    for key in config:
        damaged = {name: value for name, value in config.items() if name != key}
        refused(ModelError, "", type(m.head).restore, damaged, state)
    for key in state:
        damaged = {name: value for name, value in state.items() if name != key}
        refused(ModelError, "", type(m.head).restore, config, damaged)


def _saved(m: HeadMaterial) -> None:
    """A model folder keeps the head next to that of the labels, and finds it by its name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        Model(load_model("lite").encoder, heads={m.name: m.head}).save(path)
        assert holds_head(path, m.name)
        loaded = load_model(path)
    assert list(loaded.heads) == [m.name]
    _same(loaded.heads[m.name], m.head)


STEPS = (_name, _restored, _malformed, _saved)
