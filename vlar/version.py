"""Version of the package, and the command that installs more of it."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
_ROOT = Path(__file__).resolve().parents[1]


def pip_install(extra: str = "", root: Path = _ROOT) -> str:
    """The command of pip that adds an extra to vlar, where it stands: a checkout or site-packages.

    Args:
        extra: Name of an optional dependency of ``pyproject.toml``; empty for vlar alone.
        root: Folder that holds the package.
    """
    wanted = f"[{extra}]" if extra else ""
    file = root / "pyproject.toml"
    if not (file.is_file() and 'name = "vlar"' in file.read_text("utf-8", errors="replace")):
        return f"pip install 'vlar{wanted}'" if extra else "pip install vlar"
    place = "." if root == Path.cwd() else str(root)
    return f"pip install -e '{place}{wanted}'"
