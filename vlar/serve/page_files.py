"""The files of the page, as they are in the package."""

from __future__ import annotations

from functools import cache
from importlib import resources

from vlar.serve.errors import ServeError

_SCRIPTS = ("api", "app", "classify", "examples", "jobs", "library", "player", "search")
_KINDS = {
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS},
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def page_file(name: str) -> tuple[bytes, str]:
    """Content and type of a file of the page.

    Raises:
        ServeError: 404 where the page has no such file.
    """
    if name not in _KINDS:
        raise ServeError(404, "the page has no such file", "open /", "not_found")
    return resources.files("vlar.serve").joinpath("page").joinpath(name).read_bytes(), _KINDS[name]
