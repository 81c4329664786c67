"""Parts by kind and name: ``@register("encoder", "lite")``.

A kind is declared once, in ``KINDS``: the package its parts live in, the class they keep, and the
test that holds them to it. A part is one file (or one folder) in that package; no list names it.
Names are read from the source text, so listing them imports nothing, and a look-up imports the one
module that holds the part. Other packages add parts with ``vlar.register`` at run time, or through
the entry point group ``vlar.<kind>`` (``vlar.encoder``), whose entry is named as the part.

Parts that differ by their settings alone are presets, written as data in a ``presets.toml`` next to
the part that they are settings of::

    [adapter.tower-small]            # kind and name of the preset
    of = "tower"                     # the part, or another preset
    settings = { width = 64 }        # the rest goes to ``preset`` of the part
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vlar.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_REGISTER = re.compile(
    r"""^@(?:\w+\.)*register\(\s*["']([\w-]+)["']\s*,\s*["']([^"']+)["']""", re.M
)
_PRESETS = "presets.toml"
_parts: dict[str, dict[str, Any]] = {}
_added: dict[tuple[str, str], Preset] = {}  # at run time


@dataclass(frozen=True)
class Preset:
    """A part that is another one with settings.

    Attributes:
        kind: Its kind.
        name: Its name.
        of: Name of the part that it is settings of.
        values: What else its table holds, such as ``settings`` and ``recipe``.
        file: The ``presets.toml``.
    """

    kind: str
    name: str
    of: str
    values: Mapping[str, Any]
    file: Path


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: As in ``register(NAME, ...)``.
        package: Where its parts live; a package that does not exist yet has no parts.
        contract: ``module:Class`` or ``module:function`` that every part keeps.
        test: The contract test that runs on every part.
        docs: The page with one row a part.
    """

    name: str
    package: str
    contract: str
    test: str
    docs: str


def _kind(name: str, package: str, contract: str, docs: str) -> Kind:
    test = f"tests/contract/test_{name}s.py"
    return Kind(name, f"vlar.{package}", f"vlar.{contract}", test, f"docs/{docs}.md")


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("reader", "sensors", "sensors.base:Reader", "sensors"),
        _kind("encoder", "encoders", "encoders.base:Encoder", "encoders"),
        _kind("adapter", "adapters", "adapters.base:Adapter", "adapters"),
        _kind("fewshot", "fewshot.heads", "fewshot.base:FewShotHead", "fewshot"),
        _kind("rejector", "fewshot.reject", "fewshot.reject.base:Rejector", "fewshot"),
        _kind("objective", "training.objectives", "training.objectives.base:Objective", "training"),
        _kind("learner", "training.learners", "training.learners.base:Learner", "training"),
        _kind("recipe", "training.recipes", "training.hyperparameters:Hyperparameters", "training"),
        _kind("describer", "describing", "describing.base:Describer", "text"),
        _kind("detector", "detecting", "detecting.base:Detector", "who"),
        _kind("captioner", "captioning", "captioning.base:Captioner", "text"),
        _kind("answerer", "answering", "answering.base:Answerer", "second_opinion"),
        _kind("engine", "index.engines", "index.engines.base:Engine", "library"),
        _kind("runner", "index.ingest.runners", "index.ingest.runners.base:Runner", "ingest"),
        _kind("reranker", "query.rerankers", "query.rerankers.base:Reranker", "query"),
        _kind("dataset", "evaluation.datasets", "evaluation.datasets.base:Layout", "protocols"),
        _kind(
            "protocol", "evaluation.protocols", "evaluation.protocols.base:Protocol", "protocols"
        ),
        _kind(
            "corruption",
            "evaluation.corruptions",
            "evaluation.corruptions.base:Corruption",
            "corruptions",
        ),
    )
}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Class (or function) decorator that makes a part known as ``name``.

    Raises:
        UnknownNameError: the kind does not exist.
        ValueError: the name is taken by another part, or is not lower case.
    """
    _known_kind(kind)
    if name != name.lower() or not name:
        raise ValueError(f"part name {name!r} must be lower case and not empty")

    def add(part: T) -> T:
        known = _parts.setdefault(kind, {})
        other = known.get(name)
        if other is not None and _identity(other) != _identity(part):
            raise ValueError(f"{kind} {name!r} is already registered by {_identity(other)}")
        known[name] = part
        return part

    return add


def add_presets(file: str | Path) -> list[Preset]:
    """Make the presets of a ``presets.toml`` known at run time, as ``register`` does with parts.

    Raises:
        UsageError: the file cannot be read, or a table is not a preset.
        UnknownNameError: the kind of a preset does not exist.
        ValueError: a name is taken.
    """
    presets = list(_read_presets(Path(file)))
    for preset in presets:
        _known_kind(preset.kind)
        key = preset.kind, preset.name
        if preset.name in names(preset.kind) and _added.get(key) != preset:
            raise ValueError(f"{preset.file}: {preset.kind} {preset.name!r} is already registered")
    _added.update({(preset.kind, preset.name): preset for preset in presets})
    return presets


def names(kind: str) -> list[str]:
    """All names of a kind, sorted. Nothing is imported.

    Raises:
        UnknownNameError: the kind does not exist.
    """
    found = _found(_known_kind(kind).package, kind)
    added = (name for other, name in _added if other == kind)
    return sorted({*found, *added, *_parts.get(kind, {}), *_entry_points(kind)})


def get(kind: str, name: str) -> Any:
    """The part registered as ``name``; imports the module it is in.

    Raises:
        UnknownNameError: no such kind or part; the message lists the known names and the nearest.
        UsageError: it is a preset that its part does not take.
    """
    _known_kind(kind)
    if name not in _parts.get(kind, {}):
        place = _place(kind, name)
        if isinstance(place, Preset):
            _parts.setdefault(kind, {})[name] = _made(place)
        elif place is not None:
            importlib.import_module(place)
        elif name in _entry_points(kind):
            _parts.setdefault(kind, {})[name] = _entry_points(kind)[name].load()
        else:
            raise unknown_name(kind, name, names(kind))
    return _parts[kind][name]


def parts(kind: str) -> dict[str, Any]:
    """All parts of a kind by name; imports each of them.

    Raises:
        UnknownNameError: the kind does not exist.
    """
    return {name: get(kind, name) for name in names(kind)}


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among ``known``, with the nearest one suggested."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join(choices) or "none"
    return UnknownNameError(f"no {what} is called {name!r}{hint} Known: {listed}.")


def _known_kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise unknown_name("kind of part", kind, KINDS)
    return KINDS[kind]


def _identity(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _made(preset: Preset) -> Any:
    """The part of a preset.

    Raises:
        UsageError: its part takes no presets, or is made of the preset itself.
    """
    seen, of = {preset.name}, preset.of
    while isinstance(under := _place(preset.kind, of), Preset):
        if of in seen:
            raise UsageError(f"{preset.file}: preset {preset.name!r} is made of itself; correct it")
        seen.add(of)
        of = under.of
    part = get(preset.kind, preset.of)
    if not hasattr(part, "preset"):
        raise UsageError(
            f"{preset.file}: {preset.kind} {preset.of!r} takes no presets; remove {preset.name!r}"
        )
    return part.preset(preset)


def _place(kind: str, name: str) -> str | Preset | None:
    return _found(_known_kind(kind).package, kind).get(name) or _added.get((kind, name))


@cache
def _found(package: str, kind: str) -> dict[str, str | Preset]:
    """Names of the parts in a package, read from the source text: the module, or the preset."""
    found: dict[str, str | Preset] = {}
    for module, file in _modules(package):
        for registered, name in _REGISTER.findall(file.read_text("utf-8")):
            if registered == kind:
                found[name] = module
    for file in _files(package, _PRESETS):
        found.update({row.name: row for row in _read_presets(file) if row.kind == kind})
    return found


def _read_presets(file: Path) -> Iterator[Preset]:
    """The presets of a file.

    Raises:
        UsageError: the file cannot be read, or a table is not a preset.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pyright: ignore[reportMissingImports]
    try:
        kinds: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read as TOML ({error}); correct it") from error
    for kind, tables in kinds.items():
        for name, table in tables.items() if isinstance(tables, dict) else [("", None)]:
            values: dict[str, Any] = dict(table) if isinstance(table, dict) else {}
            of = values.pop("of", None)
            if not isinstance(of, str) or name != name.lower():
                raise UsageError(
                    f"{file}: {kind}.{name} is not a preset; write a table [{kind}.NAME] with the "
                    "key of, the name in lower case"
                )
            yield Preset(kind, name, of, values, file)


def _modules(package: str) -> Iterator[tuple[str, Path]]:
    """The modules of a package, and those of its folders one level down."""
    for file in _files(package, "*.py"):
        inside = file.relative_to(_folder(package)).with_suffix("").parts
        yield ".".join([package, *(part for part in inside if part != "__init__")]), file


def _files(package: str, pattern: str) -> list[Path]:
    folder = _folder(package)
    return sorted([*folder.glob(pattern), *folder.glob(f"*/{pattern}")])


def _folder(package: str) -> Path:
    return Path(__file__).parent.joinpath(*package.split(".")[1:])


@cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    from importlib import metadata  # takes a while, and only look-ups need it

    return {entry.name: entry for entry in metadata.entry_points(group=f"vlar.{kind}")}
