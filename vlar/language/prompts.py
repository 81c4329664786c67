"""Template sets: the sentences that hold a label when a text encoder reads it.

A set is a file ``prompts/NAME.txt``: one template a line with exactly one ``{}``; empty lines and
lines that start with ``#`` are skipped. The vectors of a label's filled templates are averaged
(Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vlar.errors import ModelError, UsageError
from vlar.files import resources
from vlar.files.reading import MB, read_file
from vlar.formatting import fault

PLACE = "{}"
_MOST = MB
_LONGEST = 1_000  # characters of a template


def load_templates(name_or_path: str | Path) -> tuple[str, ...]:
    """The templates of a set.

    Args:
        name_or_path: A name in ``prompts/`` (``plain``, ``video``, ``person``) or a text file.

    Returns:
        P templates in file order.

    Raises:
        UnknownNameError: no set has this name.
        UsageError: the file cannot be read, is empty, or a line is not a template.
    """
    path = _locate(name_or_path)
    try:
        lines = read_file(path, _MOST).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"the template file {str(path)!r} is not UTF-8 text") from error
    except OSError as error:
        raise UsageError(
            f"the template file {str(path)!r} cannot be read: {error.strerror or error}"
        ) from error
    templates: list[str] = []
    for number, line in enumerate(lines, start=1):
        template = line.strip()
        if template and not template.startswith("#"):
            check_template(template, f"{path}, line {number}")
            templates.append(template)
    if not templates:
        raise UsageError(f"the template file {str(path)!r} holds no template; add a line with {{}}")
    return tuple(dict.fromkeys(templates))


def check_template_set(name: str, what: str) -> str:
    """The name of a set of ``prompts/``, for what a saved model or a configuration names.

    A path is refused: it could be any file of the reader's machine.

    Raises:
        ModelError: no set has this name.
    """
    names = resources.names("prompts", ".txt")
    if name not in names:
        raise ModelError(
            f"{what} is {name[:80]!r}, not a template set of prompts/; known: {', '.join(names)}"
        )
    return name


def fill(templates: Sequence[str], texts: Sequence[str]) -> list[list[str]]:
    """Put every text into every template.

    Args:
        templates: P templates.
        texts: C texts; braces in them are kept as they are.

    Returns:
        C lists of P prompts.

    Raises:
        UsageError: the list is empty, or a template does not have exactly one ``{}``.

    >>> fill(["{}", "a video of {}"], ["rowing"])
    [['rowing', 'a video of rowing']]
    """
    if not templates:
        raise UsageError("the list of templates is empty; use the set 'plain' for the bare label")
    for template in templates:
        check_template(template, "the given templates")
    return [[template.replace(PLACE, text) for template in templates] for text in texts]


def check_template(template: str, where: str) -> None:
    """Raise UsageError unless the template has exactly one ``{}`` and no other brace."""
    remainder = template.replace(PLACE, "", 1)
    if len(template) > _LONGEST or fault(template) is not None:
        raise UsageError(
            f"{where}: a template is one line of up to {_LONGEST} characters without control "
            "characters; correct it"
        )
    if PLACE not in template or "{" in remainder or "}" in remainder:
        raise UsageError(
            f"{where}: the template {template!r} must hold exactly one {{}} for the label and no "
            "other brace"
        )


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, Path):
        return name_or_path
    looks_like_path = "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".txt")
    if looks_like_path:
        return Path(name_or_path).expanduser()
    return resources.find("prompts", name_or_path, ".txt")
