"""The file that ``vlar train`` reads."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from vlar import registry
from vlar.errors import UsageError
from vlar.training.hyperparameters import Plan, adapter_settings, default_recipe, load_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

_PLAN_KEYS = [field.name for field in fields(Plan) if field.name not in ("groups", "settings")]


class TrainConfig(BaseModel):
    """One training.

    Attributes:
        method: Registered name of the adapter to train.
        train: Folder with one folder of videos a label, or a CSV; as for ``vlar adapt``.
        out: Folder for the model.
        model: The encoder it is put around.
        recipe: Where the numbers come from; None means what ``vlar adapt`` takes.
        seed: Of everything that is drawn.
        save_every: Steps between checkpoints; 0 means at the end of every epoch.
        log: ``tensorboard`` writes curves to ``OUT.training/tensorboard``.
        adapter: Settings of the adapter.
        training: Numbers that replace the recipe's.
    """

    model_config = ConfigDict(extra="forbid")
    method: str
    train: Path
    out: Path
    model: str = "lite"
    recipe: str | None = None
    seed: NonNegativeInt = 0
    save_every: NonNegativeInt = 0
    log: Literal["none", "tensorboard"] = "none"
    adapter: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe or default_recipe(self.method)

    @property
    def adapter_settings(self) -> dict[str, Any]:
        """The recipe's settings of the adapter with what ``[adapter]`` replaces."""
        return adapter_settings(self.recipe_name, self.method, self.adapter)

    @property
    def plan(self) -> Plan:
        """The recipe with what ``[training]`` replaces."""
        return _plan(load_recipe(self.recipe_name), self.training)


def read_config(path: str | Path) -> TrainConfig:
    """Read and check a configuration; relative paths count from its folder.

    Raises:
        UsageError: the file cannot be read or a value is wrong; the message names the key and the
            value.
        UnknownNameError: a key, a method or a recipe does not exist; the message names the nearest.
    """
    file = Path(path).expanduser()
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not readable as TOML ({error})") from error
    _check_keys(values, list(TrainConfig.model_fields), "the configuration")
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise _told(file, "", error) from error
    if config.method not in registry.names("adapter"):
        raise registry.unknown_name("method", config.method, registry.names("adapter"))
    try:
        _ = config.plan
    except ValidationError as error:
        raise _told(file, "training.", error) from error
    place = file.absolute().parent
    update = {name: place / getattr(config, name).expanduser() for name in ("train", "out")}
    return config.model_copy(update=update)


def _plan(recipe: Plan, given: dict[str, Any]) -> Plan:
    _check_keys(given, _PLAN_KEYS, "[training]")
    values = {field.name: getattr(recipe, field.name) for field in fields(Plan)}
    return TypeAdapter(Plan).validate_python({**values, **given})


def _check_keys(values: dict[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise registry.unknown_name(f"key of {where}", key, known)


def _told(file: Path, prefix: str, error: ValidationError) -> UsageError:
    first = error.errors()[0]
    key = prefix + ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return UsageError(f"{file}: key {key!r} is missing; add it")
    return UsageError(f"{file}: key {key!r} is {first['input']!r}: {reason.lower()}; correct it")
