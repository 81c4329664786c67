"""Finds out what a path is, and audits it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vlar.audit.contents import PICKLES, files_in, look
from vlar.audit.finding import REMARK, Finding
from vlar.audit.library import audit_library
from vlar.audit.models import HF, OPENCLIP, audit_model, audit_weights, audit_weights_file
from vlar.errors import UsageError, VlarError
from vlar.index.store import schema
from vlar.model.manifest import MANIFEST
from vlar.text.bank import load_bank
from vlar.text.labels import parse_labels


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        path: What was audited.
        kind: What it is: ``model``, ``library``, ``weights``, ``bank`` or ``labels``.
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
    place = Path(path).expanduser()
    if not place.exists() and not place.is_symlink():
        raise UsageError(f"{place} does not exist; give a folder or a file to audit")
    kind, check = _kind(place)
    order = {"danger": 0, "damage": 1, "remark": 2}
    findings = sorted(dict.fromkeys(check(place)), key=lambda finding: order[finding.severity])
    return Audit(place, kind, tuple(findings))


def _kind(place: Path) -> tuple[str, Callable[[Path], Iterator[Finding]]]:
    if place.is_dir():
        known = {
            MANIFEST: ("model", audit_model), schema.FILE_NAME: ("library", audit_library),
            OPENCLIP: ("weights", audit_weights), HF: ("weights", audit_weights),
        }  # fmt: skip
        names = {file.name for file in place.iterdir()}
        for name, found in known.items():
            if name in names:
                return found
        if any(file.suffix in (*PICKLES, ".safetensors") for file in files_in(place)):
            return "weights", audit_weights
        raise UsageError(
            f"{place} is not a model folder, a library or a folder of weights (no "
            f"{', '.join(known)} in it); audit these folders one by one"
        )
    suffix = place.suffix.lower()
    if suffix in (*PICKLES, ".safetensors"):
        return "weights", audit_weights_file
    if suffix == ".json":
        return "bank", _bank
    if suffix in (".txt", ".csv"):
        return "labels", _labels
    raise UsageError(
        f"{place} is not a file that vlar audits; give weights (.safetensors, .pt), a bank "
        "(.json), labels (.txt, .csv), or a folder"
    )


def _bank(file: Path) -> Iterator[Finding]:
    found = list(look(file))
    yield from found
    try:
        if not found:
            load_bank(file)
    except VlarError as error:
        yield Finding.of(error, file)


def _labels(file: Path) -> Iterator[Finding]:
    found = list(look(file))
    yield from found
    try:
        if not found:
            parse_labels(file)
    except VlarError as error:
        yield Finding.of(error, file)
