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
    summary = "..."                  # one line for lists, without which they have that of the part
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Self

from vlar.errors import PackageError, UnknownNameError, UsageError
from vlar.version import package_fault, pip_install

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_REGISTER = re.compile(
    r"""^@(?:\w+\.)*register\(\s*["']([\w-]+)["']\s*,\s*["']([^"']+)["']"""
    r"""(?:\s*,\s*status=["']([^"']+)["'])?""",
    re.M,
)
_ROOT = Path(__file__).parent
_PRESETS = "presets.toml"
#: Packages whose folders, of a thought, a paper or a plugin, may hold parts of every kind.
SHELVES = ("vlar.behaviour", "vlar.methods", "vlar.plugins")
#: The status of a method: ``auto`` considers it; all of it equals the original within a tolerance;
#: parts of it do at most; on the data of this project it gains nothing beyond two standard errors.
STATUSES = ("default", "reproduced", "in the spirit", "null here")
loaded: dict[str, dict[str, Any]] = {}  # parts that were imported, by kind and name
_added: dict[tuple[str, str], Preset] = {}  # at run time
_statuses: dict[tuple[str, str], str] = {}  # at run time


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
class PartSpec:
    """Name and argument of a part, as a user writes them: ``hf:FOLDER``.

    >>> PartSpec.parse("hf:a:b"), str(PartSpec("lite"))
    (PartSpec(name='hf', argument='a:b'), 'lite')

    Attributes:
        name: What comes before the first colon.
        argument: What follows it; empty for none.
    """

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.argument}" if self.argument else self.name

    @classmethod
    def parse(cls, text: str) -> Self:
        """The name and the argument of a text."""
        name, _, argument = text.partition(":")
        return cls(name, argument)


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: As in ``register(NAME, ...)``.
        package: Where its parts live; a package that does not exist yet has no parts.
        contract: ``module:Class`` or ``module:function`` that every part keeps.
        test: The contract test that runs on every part.
        docs: The page with one row a part.
        spelling: How a part is named where a user names one, for the message about no name.
        loader: ``module:function`` that loads a name of several parts; empty where a name is one.
    """

    name: str
    package: str
    contract: str
    test: str
    docs: str
    spelling: str = ""
    loader: str = ""


def _kind(
    name: str, package: str, contract: str, docs: str, spelling: str = "", loader: str = ""
) -> Kind:
    test = f"tests/contract/test_{name}s.py"
    page = f"docs/{docs}.md"
    return Kind(name, f"vlar.{package}", f"vlar.{contract}", test, page, spelling, loader)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("reader", "media.readers", "media.base:Reader", "sensors"),
        _kind("annotation", "behaviour.formats", "segments.base:AnnotationFormat", "exchange"),
        _kind(
            "encoder",
            "encoders",
            "encoders.base:Encoder",
            "encoders",
            loader="vlar.encoders.loading:load",
        ),
        _kind(
            "adapter",
            "adapters",
            "adapters.base:Adapter",
            "adapters",
            loader="vlar.encoders.loading:load",
        ),
        _kind("head", "heads", "heads.base:ModelHead", "extending"),
        _kind("fewshot", "heads.fewshot", "heads.fewshot.base:FewShotHead", "fewshot"),
        _kind("rejector", "heads", "heads.reject:Rejector", "rejectors"),
        _kind("objective", "training", "training.objectives:Objective", "objectives"),
        _kind("learner", "training", "training.learners:Learner", "training"),
        _kind("recipe", "training", "training.hyperparameters:Hyperparameters", "training"),
        _kind(
            "describer",
            "generators.descriptions",
            "generators.descriptions.base:Describer",
            "text",
            "openai:MODEL, local:FOLDER or offline",
        ),
        _kind(
            "detector",
            "people.detectors",
            "people.base:Detector",
            "who",
            "pose, motion or hf:FOLDER",
        ),
        _kind(
            "captioner",
            "generators.captions",
            "encoders.captions:Captioner",
            "text",
            "concepts, file:FILE.json or hf:FOLDER",
            "vlar.encoders.captions:load",
        ),
        _kind(
            "answerer",
            "generators.opinions",
            "generators.opinions.base:Answerer",
            "second_opinion",
            "self:MODEL, local:FOLDER or openai:MODEL",
        ),
        _kind("backend", "library", "library.backends:Backend", "library"),
        _kind("engine", "library.engines", "library.engines.base:Engine", "engines"),
        _kind("runner", "library.ingest.runners", "library.ingest.runners.base:Runner", "scale"),
        _kind("reranker", "library.query", "library.query.rerankers:Reranker", "ranking"),
        _kind(
            "dataset", "evaluation.datasets", "evaluation.datasets.base:DatasetLayout", "datasets"
        ),
        _kind(
            "protocol", "evaluation.protocols", "evaluation.protocols.base:Protocol", "protocols"
        ),
        _kind(
            "corruption",
            "evaluation.corruptions",
            "evaluation.corruptions.base:Corruption",
            "corruptions",
        ),
        _kind("attack", "evaluation.attacks", "evaluation.attacks.base:Attack", "attacks"),
    )
}


def register(kind: str, name: str, *, status: str | None = None) -> Callable[[T], T]:
    """Class (or function) decorator that makes a part known as ``name``.

    Args:
        kind: One of ``KINDS``.
        name: Lower case.
        status: One of ``STATUSES`` for a method of a paper; None for what has no paper.

    Raises:
        UnknownNameError: the kind does not exist.
        ValueError: the name is taken by another part, or is not lower case; the status is unknown.
    """
    _known_kind(kind)
    if status is not None and status not in STATUSES:
        raise ValueError(f"status {status!r} of {kind} {name!r} is unknown; use one of {STATUSES}")
    if name != name.lower() or not name:
        raise ValueError(f"part name {name!r} must be lower case and not empty")

    def add(part: T) -> T:
        parts_by_name = loaded.setdefault(kind, {})
        other = parts_by_name.get(name)
        if other is not None and _identity(other) != _identity(part):
            raise ValueError(f"{kind} {name!r} is already registered by {_identity(other)}")
        parts_by_name[name] = part
        if status is not None:
            _statuses[kind, name] = status
        return part

    return add


def status(kind: str, name: str) -> str | None:
    """Status of a method, read from the source text; None for a part that states none.

    Raises:
        UnknownNameError: no such kind or part.
    """
    part = _known_place(kind, name)
    if isinstance(part, Preset):
        return part.values.get("status") or status(kind, part.of)
    return _statuses.get((kind, name)) or _found_statuses(_known_kind(kind).package, kind).get(name)


def source_file(kind: str, name: str) -> Path | None:
    """Source file of a part, or the file of its preset; None for a part of another package.

    Raises:
        UnknownNameError: no such kind or part.
    """
    part = _known_place(kind, name)
    if isinstance(part, Preset):
        return part.file
    if part is None:
        return None
    module = _ROOT.joinpath(*part.split(".")[1:])
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def preset(kind: str, name: str) -> Preset | None:
    """The preset that a name stands for; None for a part that is a class or a function.

    Raises:
        UnknownNameError: no such kind or part.
    """
    part = _known_place(kind, name)
    return part if isinstance(part, Preset) else None


def reference(kind: str, name: str) -> str | None:
    """Paper of a method, from its row ``| kind | `name` | status | reference |`` in the README.

    The README lies next to the source file. None where no row names the part.

    Raises:
        UnknownNameError: no such kind or part.
    """
    file = source_file(kind, name)
    readme = file and file.with_name("README.md")
    if readme is None or not readme.is_file():
        return None
    row = re.compile(rf"\| {kind} \| `{re.escape(name)}` \| [^|]+ \| ([^|]+) \|")
    return next(iter(row.findall(readme.read_text("utf-8"))), None)


def shelf(module: str, what: str) -> Any:
    """A module of a shelf, which an installation may lack.

    Args:
        module: Its name after ``vlar.``, such as ``apps.audit``.
        what: The option that needs it, for the message.

    Raises:
        PackageError: it is not part of this installation.
    """
    name = f"vlar.{module}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (error.name and f"{name}.".startswith(f"{error.name}.")):
            raise
        raise PackageError(
            f"{what} needs {name}, which this installation lacks; run: {pip_install()}"
        ) from error


def optional_shelf(module: str) -> Any:
    """A module of a shelf, such as ``plugins.integrity.h264``; None where it is not installed."""
    try:
        return shelf(module, module)
    except PackageError:
        return None


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
    parts_by_name = _found(_known_kind(kind).package, kind)
    added = (name for other, name in _added if other == kind)
    return sorted({*parts_by_name, *added, *loaded.get(kind, {}), *_entry_points(kind)})


def get(kind: str, name: str) -> Any:
    """The part registered as ``name``; imports the module it is in.

    Raises:
        UnknownNameError: no such kind or part; the message lists the known names and the nearest.
        UsageError: it is a preset that its part does not take.
        PackageError: a library it needs is not installed, or is broken.
    """
    _known_kind(kind)
    if name not in loaded.get(kind, {}):
        part = _place(kind, name)
        if isinstance(part, Preset):
            loaded.setdefault(kind, {})[name] = _made(part)
        elif part is not None:
            _imported(f"{kind} {name!r}", lambda: importlib.import_module(part))
        elif name in _entry_points(kind):
            load = _entry_points(kind)[name].load
            loaded.setdefault(kind, {})[name] = _imported(f"{kind} {name!r}", load)
        else:
            raise unknown_name(kind, name, names(kind))
    return loaded[kind][name]


def load(kind: str, spec: Any, *given: Any, **options: Any) -> Any:
    """The part that a name stands for: an encoder, adapter, captioner, answerer, describer ...

    >>> load("detector", "motion").name
    'motion'

    Args:
        kind: One of ``KINDS``.
        spec: ``NAME``, ``NAME:ARGUMENT``, several joined by ``+`` where the kind has a loader of
            such names, or what one of them was parsed into.
        given: What ``from_spec`` of the part takes next to the argument.
        options: The same by name; those of None are left to the part.

    Raises:
        UnknownNameError: no such kind or part.
        UsageError: the name is empty, or the part does not take its argument or an option.
        PackageError: a library it needs is not installed, or is broken.
    """
    module, _, function = _known_kind(kind).loader.partition(":")
    if not module:
        return made(kind, spec, *given, **options)
    return getattr(importlib.import_module(module), function)(kind, spec, *given, **options)


def made(kind: str, spec: str | PartSpec, *given: Any, **options: Any) -> Any:
    """The one part of ``NAME`` or ``NAME:ARGUMENT``; ``load`` describes the arguments.

    Raises:
        UnknownNameError: no such kind or part.
        UsageError: the name is empty, or the part does not take its argument or an option.
        PackageError: a library it needs is not installed, or is broken.
    """
    part = spec if isinstance(spec, PartSpec) else PartSpec.parse(spec.strip())
    if not part.name:
        spelling = _known_kind(kind).spelling or "one of " + ", ".join(names(kind))
        raise UsageError(f"the {kind} is empty; use {spelling}")
    make = get(kind, part.name).from_spec
    options = {name: value for name, value in options.items() if value is not None}
    parameters = inspect.signature(make).parameters if options else {}
    takes_all = any(row.kind is row.VAR_KEYWORD for row in parameters.values())
    for name, value in options.items():
        if name not in parameters and not takes_all:
            raise UsageError(f"{kind} {part.name!r} takes no {name}, got {value!r}; leave it out")
    return make(part.argument, *given, **options)


def parts(kind: str | None = None) -> dict[str, Any]:
    """All parts of a kind by name, each imported; without a kind, the names of every kind.

    Raises:
        UnknownNameError: the kind does not exist.
    """
    if kind is None:
        return {kind: names(kind) for kind in KINDS}
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


def _imported(what: str, load: Callable[[], T]) -> T:
    """The part that ``load`` imports.

    Raises:
        PackageError: a library is not installed, or is broken.
    """
    try:
        return load()
    except Exception as error:
        if (fault := package_fault(error)) is None:
            raise
        raise PackageError(f"{what}: {fault}") from error


def _identity(part: Any) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _made(preset: Preset) -> Any:
    """The part of a preset.

    Raises:
        UsageError: its part takes no presets, or is made of the preset itself.
    """
    presets, of = {preset.name}, preset.of
    while isinstance(under := _place(preset.kind, of), Preset):
        if of in presets:
            raise UsageError(f"{preset.file}: preset {preset.name!r} is made of itself; correct it")
        presets.add(of)
        of = under.of
    part = get(preset.kind, preset.of)
    if not hasattr(part, "preset"):
        raise UsageError(
            f"{preset.file}: {preset.kind} {preset.of!r} takes no presets; remove {preset.name!r}"
        )
    return part.preset(preset)


def _known_place(kind: str, name: str) -> str | Preset | None:
    """Module or preset of a part; None for one of another package."""
    if name not in names(kind):
        raise unknown_name(kind, name, names(kind))
    return _place(kind, name)


def _place(kind: str, name: str) -> str | Preset | None:
    return _found(_known_kind(kind).package, kind).get(name) or _added.get((kind, name))


@cache
def _found(package: str, kind: str) -> dict[str, str | Preset]:
    """Names of the parts in a package, read from the source text: the module, or the preset."""
    parts_by_name: dict[str, str | Preset] = {}
    for module, file in _modules(package):
        parts_by_name.update(
            {name: module for other, name, _ in _registered(file) if other == kind}
        )
    for file in _files(package, _PRESETS):
        parts_by_name.update({row.name: row for row in _read_presets(file) if row.kind == kind})
    return parts_by_name


@cache
def _found_statuses(package: str, kind: str) -> dict[str, str]:
    rows = [row for _, file in _modules(package) for row in _registered(file)]
    return {name: status for other, name, status in rows if other == kind and status}


@cache
def _registered(file: Path) -> list[tuple[str, str, str]]:
    """Kind, name and status of each part of a source file."""
    source = file.read_bytes()
    # Most files register nothing: they are neither decoded nor searched.
    return _REGISTER.findall(source.decode("utf-8")) if b"register(" in source else []


def _read_presets(file: Path) -> Iterator[Preset]:
    """The presets of a file.

    Raises:
        UsageError: the file cannot be read, or a table is not a preset.
    """
    from vlar.toml import read_toml  # only where presets are read

    try:
        kinds: dict[str, Any] = read_toml(file.read_text("utf-8"))
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
    """The modules of a package and of the shelves, with their folders."""
    for file in _files(package, "*.py"):
        inside = file.relative_to(_ROOT).with_suffix("").parts
        yield ".".join(["vlar", *(part for part in inside if part != "__init__")]), file


def _files(package: str, pattern: str) -> list[Path]:
    """Files of a package with its folders one level down, and of the folders of the shelves."""
    folder = _ROOT.joinpath(*package.split(".")[1:])
    inside = [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]
    shelves = [_ROOT.joinpath(*name.split(".")[1:]) for name in SHELVES]
    return [*sorted(inside), *sorted(file for s in shelves for file in s.glob(f"*/{pattern}"))]


@cache
def _entry_points(kind: str) -> dict[str, EntryPoint]:
    from importlib import metadata  # takes a while, and only look-ups need it

    return {entry.name: entry for entry in metadata.entry_points(group=f"vlar.{kind}")}
