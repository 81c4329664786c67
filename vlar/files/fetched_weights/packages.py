"""Fetches an extra: its packages are downloaded and opened, never installed; its files are checked.

Such packages may depend on large ones or conflict with others, and only a few files are needed. A
file that is kept as it is may also lie in the package where somebody installed it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from vlar.errors import ModelError, UsageError, explained
from vlar.files import resources
from vlar.files.compressed import read_member
from vlar.files.fetched_weights.tflite import CONVERTER_VERSION, to_onnx
from vlar.files.reading import MB, MOST_MEMORY, check_file, read_file, require_memory
from vlar.files.resources import require_space, work_folder
from vlar.registry import unknown_name
from vlar.version import is_installed


@dataclass(frozen=True)
class ExtraFile:
    """A file inside the package.

    Attributes:
        name: What it is called here.
        member: Its path in its package, from the package's own folder on.
        sha256: Of the original.
        outputs: Outputs of a TensorFlow Lite network, those that are kept; empty for other files.
    """

    name: str
    member: str
    sha256: str
    outputs: tuple[str, ...] = ()

    @property
    def stored_name(self) -> str:
        """Name of the file in the cache folder."""
        return self.name + (".onnx" if self.outputs else PurePosixPath(self.member).suffix)


@dataclass(frozen=True)
class Extra:
    """Files of pinned packages; see the text of this module for the fields of its JSON file."""

    name: str
    purpose: str
    packages: tuple[str, ...]
    download_bytes: int
    licence: str
    licence_text: str
    files: tuple[ExtraFile, ...]
    pip: tuple[str, ...] = ()
    licence_members: tuple[str, ...] = ()
    npm: bool = False  # whether the packages are those of npm: archives that end in .tgz

    @property
    def folder(self) -> Path:
        """The cache folder of the files; its name holds the version of the converter."""
        return resources.cache_dir() / f"{self.name}-{CONVERTER_VERSION}"

    @property
    def again(self) -> str:
        """Advice where a file is missing or damaged."""
        size = round(self.download_bytes / 1e6)
        return f"run: vlar models get {self.name} (a download of {size} MB)"

    @property
    def wheels(self) -> str:
        """The packages, for messages."""
        kind = "npm package" if self.npm else "wheel"
        return f"the {kind}{'s' * (len(self.packages) > 1)} {', '.join(self.packages)}"

    def file(self, name: str) -> ExtraFile:
        """The file called ``name``."""
        return next(file for file in self.files if file.name == name)

    def is_installed(self, *wanted: str) -> bool:
        """Return whether the named files are here; without names, whether all are.

        Files that an earlier version of vlar did not keep may be missing.
        """
        hashes = self._hashes()
        files = [self.file(name) for name in wanted] or self.files
        return all(file.name in hashes or _inside_package(file) for file in files)

    def path(self, name: str) -> Path:
        """The file of the cache, unread and unchecked."""
        return self.folder / self.file(name).stored_name

    def kept(self) -> dict[str, Path]:
        """Path of each file that is here, by name; none is read."""
        places = {file: (*_inside_package(file), self.path(file.name)) for file in self.files}
        return {f.name: p for f, paths in places.items() for p in paths[:1] if p.is_file()}

    def verified_path(self, name: str) -> Path:
        """Path of a file that is kept as it is, in its installed package or in the cache.

        Raises:
            ModelError: it is in neither, or its content has another hash.
        """
        file, damaged = self.file(name), ""
        for path in (*_inside_package(file), self.path(name)):
            try:
                digest = _sha256(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ModelError(f"cannot read {str(path)!r}: {error.strerror}") from error
            if digest == file.sha256:
                return path
            damaged = (
                f"{str(path)!r} has sha256 {digest[:16]}..., expected {file.sha256[:16]}...: it "
                "was changed or is incomplete"
            )
        raise ModelError(
            f"{damaged or f'{file.stored_name} of {self.name!r} is missing'}; {self.again}"
        )

    def digest(self, *wanted: str) -> str:
        """Hash of the named originals and of the converter's version."""
        parts = [str(CONVERTER_VERSION), *(self.file(name).sha256 for name in wanted)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def read(self, name: str) -> bytes:
        """The content of a file, compared with its hash.

        Raises:
            ModelError: it was never fetched, or it changed.
        """
        expected = self._hashes().get(name)
        if _inside_package(self.file(name)):
            return self.verified_path(name).read_bytes()
        try:
            data = self.path(name).read_bytes()
        except FileNotFoundError as error:
            raise ModelError(
                f"{name!r} of {self.name!r} is not installed ({error.filename}); {self.again}"
            ) from error
        except OSError as error:
            raise ModelError(
                f"{name!r} in {str(self.folder)!r} is damaged ({error}); {self.again}"
            ) from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise ModelError(f"{name!r} in {str(self.folder)!r} is damaged; {self.again}")
        return data

    def _hashes(self) -> dict[str, str]:
        """Hash of each file as it is kept, by name; empty where the manifest cannot be read."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text("utf-8"))
            return dict(manifest["networks"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _inside_package(file: ExtraFile) -> list[Path]:
    """The file in its package where that is installed; the package is not imported."""
    package, _, tail = file.member.partition("/")
    ready = not file.outputs and is_installed(package)
    spec = importlib.util.find_spec(package) if ready else None
    places = (spec and spec.submodule_search_locations) or ()
    return [path for folder in places if (path := Path(folder) / tail).is_file()]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(MB):
            digest.update(piece)
    return digest.hexdigest()


def names() -> list[str]:
    """Names of all extras, sorted."""
    entry_names = (entry.name for entry in files("vlar.files.fetched_weights").iterdir())
    return sorted(name.removesuffix(".json") for name in entry_names if name.endswith(".json"))


def extra(name: str) -> Extra:
    """The extra called ``name``.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
    """
    if name not in names():
        raise unknown_name("extra", name, names())
    row = json.loads((files("vlar.files.fetched_weights") / f"{name}.json").read_text("utf-8"))
    members = [
        ExtraFile(file["name"], file["member"], file["sha256"], tuple(file.get("outputs", ())))
        for file in row.pop("files")
    ]
    lists = {key: tuple(row.pop(key, ())) for key in ("packages", "pip", "licence_members")}
    return Extra(name, files=tuple(members), **lists, **row)


_log = logging.getLogger("vlar")
_TIMEOUT_S = 600
_PIP = ("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet")
_MANIFEST, _LICENCE = "manifest.json", "LICENCE.txt"


def fetch(extra: Extra, source: Path | None = None) -> Path:
    """Download, check, convert and keep the files of an extra.

    Args:
        extra: What to fetch.
        source: A folder with the packages' wheels or the files, or one wheel with all; None to
            download with pip.

    Returns:
        The cache folder.

    Raises:
        ModelError: pip or the network connection failed, a file has another hash, or the disk is
            full.
        UsageError: ``source`` lacks a file.
    """
    target = extra.folder
    with explained(
        ModelError,
        f"cannot write to {str(target.parent)!r}",
        "set VLAR_CACHE to a folder that can be written",
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(target.parent) as work:
            _install(extra, _read_source(extra, source or _download(extra, work / "wheels")), work)
    return target


def _download(extra: Extra, target: Path) -> Path:
    require_space(target, 2 * extra.download_bytes, extra.name)  # wheels, and what is in them
    command = [sys.executable, "-m", "pip", *_PIP, *extra.pip, "--dest", str(target)]
    packages, by_hand = extra.packages, "pip download --no-deps -d wheels"
    if extra.npm:
        target.mkdir()
        command = [shutil.which("npm") or "npm", "pack", "--silent", "--pack-destination"]
        command.append(str(target))
        packages = tuple(package.replace("==", "@") for package in packages)
        by_hand = "mkdir -p wheels; npm pack --pack-destination wheels"
    _log.info(
        "downloading %s (about %d MB, once; not installed)",
        extra.wheels,
        round(extra.download_bytes / 1e6),
    )
    tool = "npm" if extra.npm else "pip"
    failed = f"{tool} could not download the packages of {extra.name}"
    advice = (
        f"on a machine with {tool} and a network run: {by_hand} {' '.join(packages)}; "
        f"then here: vlar models get {extra.name} --from wheels"
    )
    try:
        done = subprocess.run(
            [*command, *packages], capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"{failed} ({error}); {advice}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"{failed} ({lines[-1].strip()}); {advice}")
    return target


def _read_source(extra: Extra, source: Path) -> dict[str, bytes]:
    """Content by member of its package; a licence is left out where there is none."""
    members = [file.member for file in extra.files]
    contents: dict[str, bytes] = {}
    try:
        for wheel in _wheels(extra, source) if source.is_dir() else [source]:
            check_file(wheel, MOST_MEMORY)
            if wheel.suffix == ".tgz":
                with tarfile.TarFile.gzopen(str(wheel)) as packed:
                    sizes = [packed.getmember(member).size for member in members]
                    require_memory(sum(sizes))
                    contents |= {m: _member(packed, m) for m in members}
                continue
            with zipfile.ZipFile(wheel) as archive:
                present = {*members, *extra.licence_members} & {*archive.namelist()}
                # Before the hash can be compared, the files lie in memory.
                sizes = [archive.getinfo(member).file_size for member in present]
                require_memory(sum(sizes) + sum(map(len, contents.values())))
                contents |= {m: read_member(archive, archive.getinfo(m)) for m in present}
        for member in members:
            for candidate in (source / member, source / Path(member).name):
                if member not in contents and candidate.is_file():
                    contents[member] = read_file(candidate, MOST_MEMORY)
        lacking = [Path(member).name for member in members if member not in contents]
    except Exception as error:  # noqa: BLE001 - damage in an archive leads to any kind of error
        lacking = [str(error) or type(error).__name__]
    if lacking:
        raise UsageError(
            f"{str(source)!r} is neither {extra.wheels} nor a folder of wheels or files of "
            f"{extra.name} ({', '.join(lacking)[:200]}); give one of them with --from"
        )
    return contents


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def _wheels(extra: Extra, folder: Path) -> list[Path]:
    """The wheels of an extra in a folder; packages of npm have one each, too."""
    if extra.npm:
        names = {f"{package.replace('==', '-')}.tgz" for package in extra.packages}
        return [path for path in folder.glob("*.tgz") if path.name in names]
    pinned = [package.split("==") for package in extra.packages]
    begins = tuple(f"{re.sub('[-_.]+', '_', name)}-{version}-" for name, version in pinned)
    return [path for path in sorted(folder.glob("*.whl")) if path.name.startswith(begins)]


def _install(extra: Extra, data: dict[str, bytes], work: Path) -> None:
    for file in extra.files:
        digest = hashlib.sha256(data[file.member]).hexdigest()
        if digest != file.sha256:
            raise ModelError(
                f"{Path(file.member).name} has sha256 {digest[:16]}..., expected "
                f"{file.sha256[:16]}...: it is not from {extra.wheels}, or it is incomplete"
            )
    require_space(work, sum(map(len, data.values())), extra.name)
    _write(extra, work, data)
    # Files are replaced one by one, the manifest last: another process reads the old or the
    # new set, or a mixture that fails its check.
    extra.folder.mkdir(exist_ok=True)
    for name in (*(file.stored_name for file in extra.files), _LICENCE, _MANIFEST):
        (work / name).replace(extra.folder / name)


def _write(extra: Extra, work: Path, data: dict[str, bytes]) -> None:
    hashes: dict[str, str] = {}
    for file in extra.files:
        content = data[file.member]
        if file.outputs:
            content = to_onnx(content, file.outputs)
        (work / file.stored_name).write_bytes(content)
        hashes[file.name] = hashlib.sha256(content).hexdigest()
    notice = f"These files are from {extra.wheels}: {extra.licence}."
    if any(file.outputs for file in extra.files):
        notice += " Networks of TensorFlow Lite were converted to ONNX by vlar; the weights are "
        notice += "unchanged."
    notice += "\n\n"
    licences = [data[member] for member in extra.licence_members if member in data]
    licences = licences or [f"{extra.licence_text}\n".encode()]
    (work / _LICENCE).write_bytes(notice.encode() + b"\n".join(licences))
    # "networks" is the name that the first version gave them; a cache outlives versions.
    manifest = {"source": extra.packages, "converter": CONVERTER_VERSION, "networks": hashes}
    (work / _MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
