"""Audits of model folders, folders of weights, and single files of weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vlar import registry
from vlar.audit.contents import files_in, look
from vlar.audit.finding import DAMAGE, DANGER, REMARK, Finding
from vlar.encoders import named
from vlar.errors import ModelError, VlarError
from vlar.model.folder import check_contents
from vlar.model.manifest import MANIFEST, Manifest, read_manifest
from vlar.safety.files import MB, read_file
from vlar.safety.strict_json import parse_json, walk

OPENCLIP, HF = "open_clip_config.json", "config.json"
_MOST_JSON = 64 * MB
_ADVICE = "use weights with a standard configuration and tokeniser"


def audit_model(folder: Path) -> Iterator[Finding]:
    """A model folder: what lies in it, its manifest, its arrays, and the path that it names."""
    try:
        manifest, written = read_manifest(folder)
    except ModelError as error:
        for file in files_in(folder):
            yield from look(file)
        yield Finding.of(error, folder / MANIFEST)
        return
    expected = {MANIFEST, *manifest.files}
    for file in files_in(folder):
        found = list(look(file))
        yield from found
        if not found and file.relative_to(folder).as_posix() not in expected:
            problem = "it is not a part of the model, and is not read"
            yield Finding(REMARK, str(file), problem, "delete it if you do not know it")
    yield from _entries(folder, manifest)
    try:
        check_contents(folder, manifest, written)
    except VlarError as error:
        yield Finding.of(error, folder)


def _entries(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    file = folder / MANIFEST
    yield from names_a_path(manifest.encoder.spec, file)
    if manifest.files and not manifest.files_sha256:
        problem = "it has no checksums of its arrays: it was saved by an earlier vlar"
        yield Finding(REMARK, str(file), problem, "save it again to add them")
    for _, entry in manifest.adapters:
        try:
            registry.get("adapter", entry.name).check_settings(entry.settings)
        except VlarError as error:
            yield Finding.of(error, file)


def names_a_path(spec: str, source: Path) -> Iterator[Finding]:
    """The finding of a manifest or a library that names a path of this machine."""
    for path in named.local_paths(spec)[:1]:
        problem = f"it names the path {path} for its model {spec!r}"
        advice = "vlar opens it only where you named it yourself (vlar models trust NAME)"
        yield Finding(REMARK, str(source), problem, advice)


def audit_weights(folder: Path) -> Iterator[Finding]:
    """A folder of weights of open_clip or transformers: its files, configurations and tokeniser."""
    from vlar.encoders.clip import trust

    for file in files_in(folder):
        found = list(look(file))
        yield from found
        if found or file.parent != folder:
            continue
        try:
            trust.check_weights(file, str(folder))
        except ModelError as error:
            yield Finding.of(error, file)
        if file.suffix == ".json":
            yield from _code_named_in(file)
    for name, check in ((OPENCLIP, trust.check_openclip_config), (HF, trust.check_hf_config)):
        if (folder / name).is_file() and not (folder / name).is_symlink():
            try:
                check(folder / name, str(folder))
            except VlarError as error:
                yield Finding.of(error, folder / name, DANGER)


def audit_weights_file(file: Path) -> Iterator[Finding]:
    """A single file of weights."""
    from vlar.encoders.clip import trust

    found = list(look(file))
    yield from found
    if not found:
        try:
            trust.check_weights(file, str(file))
        except ModelError as error:
            yield Finding.of(error, file)


def _code_named_in(file: Path) -> Iterator[Finding]:
    try:
        data = parse_json(read_file(file, _MOST_JSON))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield Finding(DAMAGE, str(file), f"it cannot be read ({why})", _ADVICE)
        return
    for _, place, value in walk(data):
        if place[-1:] == ("auto_map",) or (place[-1:] == ("trust_remote_code",) and value):
            what = json.dumps(value)[:120]
            problem = f"{'.'.join(map(str, place))} names code of the folder ({what})"
            yield Finding(DANGER, str(file), problem, _ADVICE)
