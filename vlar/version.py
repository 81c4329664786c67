"""Version of the package, and the commands that install more of it."""

from __future__ import annotations

import platform
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

__version__ = "0.1.0"
_ROOT = Path(__file__).resolve().parents[1]
# Modules whose package has another name.
_PACKAGES = {
    "cv2": "opencv-python",
    "faiss": "faiss-cpu",
    "google": "protobuf",
    "open_clip": "open-clip-torch",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow-cpu",
    "yaml": "pyyaml",
}
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_NOT_ADVISED = ("all", "dev", "docs", "test")  # extras with more than what is missing


def pip_install(extra: str = "", root: Path = _ROOT) -> str:
    """The command of pip that adds an extra to vlar, where it stands: a checkout or site-packages.

    Args:
        extra: Name of an optional dependency of ``pyproject.toml``; empty for vlar alone.
        root: Folder that holds the package.
    """
    extras = f"[{extra}]" if extra else ""
    if not _project(root):
        return f"pip install 'vlar{extras}'" if extra else "pip install vlar"
    target = "." if root == Path.cwd() else str(root)
    return f"pip install -e '{target}{extras}'"


def package_fault(error: BaseException) -> str | None:
    """One line with the package that an import needs, and the command of pip that brings it.

    Args:
        error: What the import raised: the package is not installed, or is there and broken.

    Returns:
        None where a part of vlar itself is missing, or where no import failed.
    """
    name = (error.name if isinstance(error, ImportError) else None) or _broken_import(error)
    module, _, inside = name.partition(".")
    if module in ("", "vlar"):
        return None
    package = _PACKAGES.get(module, module.replace("_", "-"))
    if isinstance(error, ModuleNotFoundError) and not (inside and is_installed(module)):
        return f"the library {module!r} is not installed; run: {package_command(package)}"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return (
        f"the library {module!r} is installed but cannot be imported ({reason}); run: "
        f"pip install --force-reinstall {package}"
    )


def package_command(package: str) -> str:
    """The command of pip for a package: vlar with the smallest extra that has it, or itself."""
    for line in _requirements():
        extra = _EXTRA.search(line)
        same = _plain(re.split(r"[^\w.-]", line, maxsplit=1)[0]) == _plain(package)
        if same and extra and extra[1] not in _NOT_ADVISED:
            return pip_install(extra[1])
    return f"pip install {package}"


def least_versions(packages: Iterable[str]) -> dict[str, str]:
    """Least version of each package that vlar allows, by name; those without one are left out."""
    bound = re.compile(r"([\w.-]+)>=([\d.]+)")
    least = {_plain(m[1]): m[2] for row in _requirements() if (m := bound.match(row))}
    return {name: least[name] for name in sorted({*packages}) if name in least}


def too_old(least: Mapping[str, object]) -> str | None:
    """One line with the first package that is installed below a version, and the command of pip."""
    from importlib import metadata

    for name, version in least.items():
        try:
            installed = __version__ if name == "vlar" else metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):  # its import fails by itself
            continue
        if _numbers(installed) < _numbers(version):
            return (
                f"{name} {str(version)[:20]} or later is needed, and {installed} is installed; "
                f"run: pip install --upgrade {name}"
            )
    return None


def _numbers(version: object) -> list[int]:
    """The first three numbers of a version."""
    return [*map(int, re.findall(r"\d{1,6}", str(version)[:40])), 0, 0, 0][:3]


def is_installed(module: str) -> bool:
    """Return whether a module can be found; nothing is imported but the package around it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a test or a broken installation has put None in its place
        return False


def _broken_import(error: BaseException) -> str:
    """The library whose import, begun by vlar, raised an error; empty where none did."""
    package, caller = "", ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        top = name.partition(".")[0]
        if top == "importlib" or "importlib._bootstrap" in frame.f_code.co_filename:
            continue
        if frame.f_code.co_name == "<module>" and top not in ("vlar", *sys.stdlib_module_names):
            package = top if package or caller == "vlar" else ""
        elif top == "vlar":
            package = ""
        caller = top
    return package


def _requirements() -> list[str]:
    """Packages with their extras, a line each: of a checkout as it is now, else of the metadata."""
    from importlib import metadata  # takes a while, and only errors need it

    if text := _project(_ROOT):
        from vlar.toml import read_toml

        project = read_toml(text)["project"]
        extras = project["optional-dependencies"].items()
        rows = [f"{row}; extra == '{extra}'" for extra, rows in extras for row in rows]
        return [*project["dependencies"], *rows]
    try:
        return metadata.requires("vlar") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return []


def _project(root: Path) -> str:
    """The ``pyproject.toml`` of a checkout of vlar; empty for another place."""
    file = root / "pyproject.toml"
    text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
    return text if 'name = "vlar"' in text else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_LIBRARIES = (
    *("numpy", "scipy", "scikit-learn", "torch", "onnxruntime", "open_clip_torch"),
    *("transformers", "av", "pillow"),
)


def environment() -> dict[str, Any]:
    """Versions of what computes, decodes and counts, and the machine."""
    from importlib import metadata  # as above

    from av import library_versions

    versions: dict[str, Any] = {"vlar": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    ffmpeg = cast("Mapping[str, Sequence[int]]", library_versions)
    return {
        "versions": versions,
        "decoder": {k: ".".join(map(str, v)) for k, v in sorted(ffmpeg.items())},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), "")
