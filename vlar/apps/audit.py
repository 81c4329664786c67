"""Finds out what a path is, and audits it."""

from __future__ import annotations

import json
import os
import pickletools
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from vlar import registry
from vlar.encoders import trusted_paths
from vlar.errors import LibraryError, ModelError, UsageError, VlarError, one_line
from vlar.files.checkpoints import check_archive
from vlar.files.opening import open_input, special_kind
from vlar.files.reading import MB, parse_json, read_file, walk
from vlar.language.bank import load_bank
from vlar.language.labels import parse_labels
from vlar.library.maintain.verify import verify
from vlar.library.store import schema
from vlar.library.store.sqlite import SqliteStore
from vlar.model.card import FILE as CARD
from vlar.model.folder import MANIFEST, Manifest, check_contents, read_manifest
from vlar.types import JsonDict

#: It runs code or leaves its folder where another program opens it; vlar refuses it or does not
#: touch it.
DANGER = "danger"
#: vlar refuses it, or would answer wrongly.
DAMAGE = "damage"
#: It is sound, and worth knowing.
REMARK = "remark"
SEVERITIES = (DANGER, DAMAGE, REMARK)


@dataclass(frozen=True)
class Finding:
    """A finding of an audit.

    Attributes:
        severity: ``danger``, ``damage`` or ``remark``.
        file: Where it is.
        problem: What is wrong.
        advice: What to do.
    """

    severity: str
    file: str
    problem: str
    advice: str

    @staticmethod
    def of(error: VlarError, file: object, severity: str = DAMAGE) -> Finding:
        """The finding of an error; what follows its last semicolon is the advice."""
        problem, mark, advice = error.message.rpartition("; ")
        if not mark:
            problem, advice = error.message, "ask its sender for a copy"
        return Finding(severity, str(file), problem, advice)

    def to_dict(self) -> JsonDict:
        """The JSON object of the command line."""
        return asdict(self)

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"{self.severity:<6}  " + one_line(f"{self.file}: {self.problem}; {self.advice}")


CODE = (
    *(".py", ".pyc", ".so", ".dll", ".dylib", ".pyd", ".sh", ".bat", ".cmd", ".ps1", ".exe"),
    *(".pth", ".js", ".jar"),
)
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_MOST_FILES = 10_000
_MOST_PICKLE = 256 * MB
_HARMLESS = ("torch.", "torch._utils.", "collections.OrderedDict", "collections.defaultdict")


def files_in(folder: Path) -> Iterator[Path]:
    """Everything in a folder but folders, up to 10,000; links are not followed."""
    count = 0
    for top, _, names in os.walk(folder):
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                return
            yield Path(top) / name


def look(file: Path) -> Iterator[Finding]:
    """Findings about a file in any folder: a link, a device, code, a pickle with calls."""
    if file.is_symlink():
        advice = "delete the link, or copy the file itself from a source you trust"
        yield Finding(DANGER, str(file), f"it is a link to {os.readlink(file)}", advice)  # noqa: PTH115
        return
    kind = special_kind(file)
    if kind is not None:
        yield Finding(DANGER, str(file), f"it is {kind}, not a file", "delete it")
        return
    suffix = file.suffix.lower()
    if suffix in PICKLES:
        yield from pickle_findings(file)
    elif suffix in CODE:
        yield Finding(DANGER, str(file), "it is code, which vlar never runs", "delete it")
    elif os.access(file, os.X_OK) and suffix not in (".safetensors", ".json", ".txt"):
        yield Finding(REMARK, str(file), "it may be executed", "delete it if you do not know it")


def pickle_findings(file: Path) -> Iterator[Finding]:
    """Calls of a file of ``torch.save`` where it is unpickled without ``weights_only``."""
    advice = "use weights as safetensors, or load it with vlar alone, which reads tensors only"
    try:
        archive = check_archive(file)
        entry_names = _names_in_archive(file) if archive else _names(read_file(file, _MOST_PICKLE))
        names = sorted(set(entry_names))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield Finding(DAMAGE, str(file), why, advice)
        return
    calls = [name for name in names if not name.startswith(_HARMLESS)]
    if calls:
        shown = ", ".join(calls[:5]) + (f" and {len(calls) - 5} more" if len(calls) > 5 else "")
        yield Finding(DANGER, str(file), f"its pickle calls {shown}", advice)


def _names_in_archive(file: Path) -> Iterator[str]:
    with open_input(file) as stream, zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                yield from _names(archive.read(entry))
            elif entry.filename.endswith((".py", ".pyc")):
                yield f"the code {entry.filename}"


def _names(data: bytes) -> Iterator[str]:
    """The names that pickles in a row import, read from their opcodes; nothing is unpickled."""
    import io

    if not data:
        raise ValueError("it is empty")
    stream, first = io.BytesIO(data), True
    while stream.tell() < len(data):
        texts: list[str] = []
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".", 1)
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(texts[-2:])
                elif "UNICODE" in opcode.name:
                    texts.append(str(argument))
        except (ValueError, IndexError, OverflowError, MemoryError):
            if first:
                raise ValueError("it is neither an archive of torch's nor a pickle") from None
            return  # the tensors of an older format follow their pickles
        first = False


OPENCLIP, HF = "open_clip_config.json", "config.json"
_MOST_JSON = 64 * MB
_ADVICE = "use weights with a standard configuration and tokeniser"


def audit_model(folder: Path) -> Iterator[Finding]:
    """A model folder: what lies in it, its manifest, its arrays, and the path that it names."""
    try:
        manifest, written = read_manifest(folder)
    except ModelError as error:
        for file in files_in(folder):
            yield from look(file)
        yield Finding.of(error, folder / MANIFEST)
        return
    expected = {MANIFEST, CARD, *manifest.files}
    for file in files_in(folder):
        findings = list(look(file))
        yield from findings
        if not findings and file.relative_to(folder).as_posix() not in expected:
            problem = "it is not a part of the model, and is not read"
            yield Finding(REMARK, str(file), problem, "delete it if you do not know it")
    yield from _entries(folder, manifest)
    try:
        check_contents(folder, manifest, written)
    except VlarError as error:
        yield Finding.of(error, folder)


def _entries(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    file = folder / MANIFEST
    yield from names_a_path(manifest.encoder.spec, file)
    if manifest.files and not manifest.files_sha256:
        problem = "it has no checksums of its arrays: it was saved by an earlier vlar"
        yield Finding(REMARK, str(file), problem, "save it again to add them")
    for _, entry in manifest.adapters:
        try:
            registry.get("adapter", entry.name).check_settings(entry.settings)
        except VlarError as error:
            yield Finding.of(error, file)


def names_a_path(spec: str, source: Path) -> Iterator[Finding]:
    """The finding of a manifest or a library that names a path of this machine."""
    for path in trusted_paths.local_paths(spec)[:1]:
        problem = f"it names the path {path} for its model {spec!r}"
        advice = "vlar opens it only where you named it yourself (vlar models trust NAME)"
        yield Finding(REMARK, str(source), problem, advice)


def audit_weights(folder: Path) -> Iterator[Finding]:
    """A folder of weights of open_clip or transformers: its files, configurations and tokeniser."""
    from vlar.encoders.clip import trust

    for file in files_in(folder):
        findings = list(look(file))
        yield from findings
        if findings or file.parent != folder:
            continue
        try:
            trust.check_weights(file, str(folder))
        except ModelError as error:
            yield Finding.of(error, file)
        if file.suffix == ".json":
            yield from _code_named_in(file)
    for name, check in ((OPENCLIP, trust.check_openclip_config), (HF, trust.check_hf_config)):
        if (folder / name).is_file() and not (folder / name).is_symlink():
            try:
                check(folder / name, str(folder))
            except VlarError as error:
                yield Finding.of(error, folder / name, DANGER)


def checked_file(file: Path, check: Callable[[Path], object]) -> Iterator[Finding]:
    """Faults of a single file, or else what a check refuses."""
    findings = list(look(file))
    yield from findings
    try:
        if not findings:
            check(file)
    except VlarError as error:
        yield Finding.of(error, file)


def audit_weights_file(file: Path) -> Iterator[Finding]:
    """A single file of weights."""
    from vlar.encoders.clip import trust

    return checked_file(file, lambda path: trust.check_weights(path, str(path)))


def _code_named_in(file: Path) -> Iterator[Finding]:
    try:
        data = parse_json(read_file(file, _MOST_JSON))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield Finding(DAMAGE, str(file), f"it cannot be read ({why})", _ADVICE)
        return
    for _, where, value in walk(data):
        if where[-1:] == ("auto_map",) or (where[-1:] == ("trust_remote_code",) and value):
            what = json.dumps(value)[:120]
            problem = f"{'.'.join(map(str, where))} names code of the folder ({what})"
            yield Finding(DANGER, str(file), problem, _ADVICE)


_OWN_TRIGGERS = ("rows_leave_a_tombstone",)
_OBJECTS = "SELECT type, name, coalesce(sql, '') FROM sqlite_master"


def audit_library(folder: Path) -> Iterator[Finding]:
    """A library: what lies in its folder, what its schema would run, and what ``verify`` finds.

    Nothing is written, and the video files that it names are not opened.
    """
    for file in files_in(folder):
        yield from look(file)
    database = folder / schema.FILE_NAME
    if database.is_symlink() or not database.is_file():
        return
    version = yield from _schema(database)
    if version is None:
        return
    if version != schema.SCHEMA_VERSION:
        problem = f"it has format {version}; this vlar audits {schema.SCHEMA_VERSION}"
        advice = f"open a copy of it first: vlar index info {folder}"
        yield Finding(REMARK, str(database), problem, advice)
        return
    try:
        if (store := SqliteStore.open_to_read(folder)) is not None:
            with closing(store):
                yield from _rows(store, folder)
    except LibraryError as error:
        yield Finding.of(error, database)


def _schema(database: Path) -> Iterator[Finding]:
    """Triggers, views and virtual tables that vlar does not make; returns the version."""
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA query_only = ON")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            objects = connection.execute(_OBJECTS).fetchall()
    except sqlite3.Error as error:
        advice = "ask its sender for a copy"
        yield Finding(DAMAGE, str(database), f"it is not a readable database ({error})", advice)
        return None
    for kind, name, sql in objects:
        virtual = kind == "table" and "VIRTUAL" in str(sql).upper()
        foreign = kind == "trigger" and name not in _OWN_TRIGGERS
        if kind == "view" or virtual or foreign:
            what = "virtual table" if virtual else kind
            problem = f"its schema has the {what} {str(name)[:80]!r}, which vlar does not make"
            yield Finding(DANGER, str(database), problem, "do not open it with other programs")
    return version


def _rows(store: SqliteStore, folder: Path) -> Iterator[Finding]:
    with store.snapshot():
        spec = store.meta().get("model")
        if spec:
            yield from names_a_path(str(spec), folder / schema.FILE_NAME)
        for fault in verify(store, files=False):
            advice = f"vlar index verify {folder} --repair"
            yield Finding(DAMAGE, fault.path, f"{fault.kind}: {fault.message}", advice)


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        path: Audited file or folder.
        kind: Its kind: ``model``, ``library``, ``weights``, ``bank`` or ``labels``.
        findings: The worst first.
    """

    path: Path
    kind: str
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing but remarks."""
        return all(finding.severity == REMARK for finding in self.findings)


def audit(path: str | Path) -> Audit:
    """Audit a model folder, a library, a folder or file of weights, a bank or a label file.

    Nothing in it is run, unpickled or built, and nothing is written.

    Raises:
        UsageError: nothing lies there, or nothing that vlar reads.
    """
    target = Path(path).expanduser()
    if not target.exists() and not target.is_symlink():
        raise UsageError(f"{target} does not exist; give a folder or a file to audit")
    kind, check = _kind(target)
    order = {"danger": 0, "damage": 1, "remark": 2}
    findings = sorted(dict.fromkeys(check(target)), key=lambda finding: order[finding.severity])
    return Audit(target, kind, tuple(findings))


def _kind(place: Path) -> tuple[str, Callable[[Path], Iterator[Finding]]]:
    if place.is_dir():
        kinds = {
            MANIFEST: ("model", audit_model),
            schema.FILE_NAME: ("library", audit_library),
            OPENCLIP: ("weights", audit_weights),
            HF: ("weights", audit_weights),
        }
        names = {file.name for file in place.iterdir()}
        for name, kind in kinds.items():
            if name in names:
                return kind
        if any(file.suffix in (*PICKLES, ".safetensors") for file in files_in(place)):
            return "weights", audit_weights
        raise UsageError(
            f"{place} is not a model folder, a library or a folder of weights (no "
            f"{', '.join(kinds)} in it); audit these folders one by one"
        )
    suffix = place.suffix.lower()
    if suffix in (*PICKLES, ".safetensors"):
        return "weights", audit_weights_file
    if suffix == ".json":
        return "bank", partial(checked_file, check=load_bank)
    if suffix in (".txt", ".csv"):
        return "labels", partial(checked_file, check=parse_labels)
    raise UsageError(
        f"{place} is not a file that vlar audits; give weights (.safetensors, .pt), a bank "
        "(.json), labels (.txt, .csv), or a folder"
    )
