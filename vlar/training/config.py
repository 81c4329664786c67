"""The configuration file of ``vlar train``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from vlar import registry
from vlar.errors import UsageError
from vlar.files.reading import MB, read_file
from vlar.language.tree import is_made
from vlar.model.requests import BALANCES, SYNONYMS, AdaptRequest
from vlar.options import body_field
from vlar.toml import read_toml
from vlar.training.hyperparameters import (
    NUMBERS,
    Hyperparameters,
    adapter_settings,
    default_recipe,
    for_no_labels,
    load_recipe,
)
from vlar.training.objectives import ObjectiveSet

NO_LOG = "none"  # no tracker
_MOST_DOTS = 500
_LONGEST_NAME = 1000  # characters of a file's path


class TrainConfig(BaseModel):
    """One training.

    Attributes:
        method: Registered name of the adapter to train.
        train: Folder with one folder of videos a label, or a CSV; as for ``vlar adapt``. None where
            an objective learns from ``unlabelled`` clips alone.
        out: Folder for the model.
        model: The encoder that the adapter wraps.
        recipe: Recipe of the hyperparameters; None means the default of ``vlar adapt``.
        seed: Seed of every draw.
        save_every: Steps between checkpoints; 0 means the end of every epoch.
        log: Tracker of accelerate that is sent the curves, such as ``tensorboard`` or ``wandb``.
            What it writes lies in ``OUT.training/NAME``.
        objectives: Names of the objectives to add; none by default.
        unlabelled: Folder of clips without labels, for objectives that use them.
        unknown: Registered name of the rejector that decides ``unknown``; one that reads the clips
            alone, as nothing is held out.
        balance: ``adjust`` for answers that do not prefer labels with more examples.
        tree: Label tree: a JSON file, ``bank:NAME`` or ``text``; see ``vlar adapt --tree``.
        learner: Registered name of the learner; None means that of the adapter.
        adapter: Settings of the adapter, and of a learner that ``learner`` names. A table with the
            name of a learner, such as ``[federated]``, names it and has its settings.
        training: Hyperparameters that replace the recipe's.
        objective: Settings of each objective, by its name.
    """

    model_config = ConfigDict(extra="forbid")
    method: str
    train: Path | None = None
    out: Path
    model: str = "lite"
    recipe: str | None = None
    seed: NonNegativeInt = body_field(AdaptRequest, "seed")
    save_every: NonNegativeInt = 0
    log: str = NO_LOG
    objectives: list[str] = []
    unlabelled: Path | None = None
    unknown: str = body_field(AdaptRequest, "unknown")
    balance: str = body_field(AdaptRequest, "balance")
    tree: str | None = body_field(AdaptRequest, "tree")
    learner: str | None = body_field(AdaptRequest, "learner")
    adapter: dict[str, Any] = {}
    training: dict[str, Any] = {}
    objective: dict[str, dict[str, Any]] = {}

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe or default_recipe(self.method)

    @property
    def adapter_settings(self) -> dict[str, Any]:
        """The recipe's settings of the adapter with what ``[adapter]`` replaces."""
        return adapter_settings(self.recipe_name, self.method, self.adapter)

    @property
    def learner_settings(self) -> dict[str, Any]:
        """Settings for a learner; one that is named may train by hyperparameters too."""
        return {**self.adapter_settings, **(self.training if self.learner else {})}

    @property
    def numbers(self) -> Hyperparameters:
        """The recipe with what ``[training]`` replaces."""
        _check_keys(self.training, NUMBERS, "[training]")
        numbers = load_recipe(self.recipe_name)
        if self.train is None:
            numbers = for_no_labels(numbers)
        return numbers.replaced(**self.training)

    @property
    def objective_settings(self) -> dict[str, dict[str, Any]]:
        """The named objectives with their settings."""
        return {name: self.objective.get(name, {}) for name in self.objectives}


def read_config(path: str | Path) -> TrainConfig:
    """Read and check a configuration; relative paths count from its folder.

    Raises:
        UsageError: the file cannot be read or a value is wrong; the message names the key and the
            value.
        UnknownNameError: a key, a method or a recipe does not exist; the message names the nearest.
    """
    file = Path(path).expanduser()
    try:
        text = read_file(file, MB).decode("utf-8")
        if max((line.count(".") for line in text.splitlines()), default=0) > _MOST_DOTS:
            # The reader is quadratic.
            raise UsageError(f"{file}: a line has over {_MOST_DOTS} dots; shorten its key or text")
        values = read_toml(text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); give a TOML file") from error
    except RecursionError as error:
        raise UsageError(f"{file}: not readable as TOML (nested too deep); flatten it") from error
    except ValueError as error:
        raise UsageError(f"{file}: not readable as TOML ({error})") from error
    for name in sorted(values.keys() & set(registry.names("learner"))):
        values = _named(values, name)
    _check_keys(values, list(TrainConfig.model_fields), "the configuration")
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise _explained(file, "", error) from error
    if config.method not in registry.names("adapter"):
        raise registry.unknown_name("method", config.method, registry.names("adapter"))
    if config.learner is not None and config.learner not in registry.names("learner"):
        raise registry.unknown_name("learner", config.learner, registry.names("learner"))
    try:
        _ = config.numbers
    except ValidationError as error:
        raise _explained(file, "training.", error) from error
    _check_keys(config.objective, config.objectives, "[objective], which are 'objectives'")
    ObjectiveSet(config.objective_settings)
    if config.train is None and config.unlabelled is None:
        raise UsageError(
            f"{file}: it has neither 'train' nor 'unlabelled'; name a folder of labelled clips, or "
            "one of clips without labels and an objective that needs none (maxi)"
        )
    _check_answers(config, file)
    folder = file.absolute().parent
    names = [name for name in ("train", "out", "unlabelled") if getattr(config, name)]
    update: dict[str, Any] = {name: folder / getattr(config, name).expanduser() for name in names}
    update["objective"] = {
        name: {key: _placed(value, folder) for key, value in settings.items()}
        for name, settings in config.objective.items()
    }
    if config.tree is not None and not is_made(config.tree):
        update["tree"] = str(folder / Path(config.tree).expanduser())
    return config.model_copy(update=update)


def _named(values: dict[str, Any], learner: str) -> dict[str, Any]:
    """The same with the table of a learner as its name and settings."""
    table = values[learner]
    if not isinstance(table, dict):
        raise UsageError(f"key {learner!r} is a learner; write a table [{learner}] of its settings")
    others = {name: value for name, value in values.items() if name != learner}
    return {**others, "learner": learner, "adapter": {**others.get("adapter", {}), **table}}


def _placed(value: Any, place: Path) -> Any:
    """A setting; if it names a file next to the configuration, the path of that file."""
    if isinstance(value, str) and value and len(value) < _LONGEST_NAME and "\n" not in value:
        with contextlib.suppress(OSError, ValueError):
            if (place / value).is_file():
                return str(place / value)
    return value


def _check_answers(config: TrainConfig, file: Path) -> None:
    """Refuse what labelled clips alone can have, a name that does not exist, held-out examples."""
    if config.train is None and config.tree is not None:
        raise UsageError(f"{file}: 'tree' stands above the labels of 'train', which is missing")
    names = registry.names("rejector")
    for what, name, choices in (
        ("rejector", SYNONYMS.get(config.unknown, config.unknown), names),
        ("balance", config.balance, BALANCES),
    ):
        if name not in choices:
            raise registry.unknown_name(what, name, choices)
    part = registry.get("rejector", SYNONYMS.get(config.unknown, config.unknown))
    if part.reads == "logits":
        raise UsageError(
            f"{file}: rejector {config.unknown!r} reads the logits of held-out examples, and "
            "'vlar train' holds none out; use familiarity, knn or prototype, or 'vlar adapt'"
        )


def _check_keys(values: dict[str, Any], known: Iterable[str], where: str) -> None:
    names = list(known)
    for key in values:
        if key not in names:
            raise registry.unknown_name(f"key of {where}", key, names)


def _explained(file: Path, prefix: str, error: ValidationError) -> UsageError:
    first = error.errors()[0]
    key = prefix + ".".join(str(part) for part in first["loc"])
    value = f"{first['input']!r}"[:80]
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return UsageError(f"{file}: key {key!r} is missing; add it")
    return UsageError(f"{file}: key {key!r} is {value}: {reason.lower()}; correct it")
