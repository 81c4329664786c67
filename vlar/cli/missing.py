"""What to install where a library is missing."""

from __future__ import annotations

import re
from importlib import metadata

# Modules whose package has another name.
_PACKAGES = {
    "cv2": "opencv-python",
    "faiss": "faiss-cpu",
    "google.protobuf": "protobuf",
    "open_clip": "open-clip-torch",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skvideo": "scikit-video",
    "tensorflow": "tensorflow-cpu",
    "yaml": "pyyaml",
}
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_NOT_FOR_USERS = ("test", "dev")


def install_advice(error: ModuleNotFoundError) -> str | None:
    """One line with the pip command; None where a part of vlar itself is missing."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "vlar"):
        return None
    package = _PACKAGES.get(module, module.replace("_", "-"))
    return f"the library {module!r} is not installed; run: pip install {_requirement(package)}"


def _requirement(package: str) -> str:
    """What to give to pip: vlar with the extra that holds the package, or the package."""
    for line in _requirements():
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        if _same(name) != _same(package):
            continue
        extra = _EXTRA.search(line)
        if extra is None:
            return package
        if extra[1] not in _NOT_FOR_USERS:
            return f"'vlar[{extra[1]}]'"
    return package


def _requirements() -> list[str]:
    try:
        return metadata.requires("vlar") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return []


def _same(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
