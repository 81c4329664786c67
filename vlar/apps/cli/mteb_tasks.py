"""``vlar eval mteb TASK``: tasks of mteb, over the user's own data or mteb's."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vlar.apps.cli import inputs, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import exit_code

if TYPE_CHECKING:
    from vlar.model.model import Model
    from vlar.plugins.mteb.encoder import VlarEncoder
    from vlar.plugins.mteb.run import TaskRun
    from vlar.plugins.mteb.tasks import OwnClips

NAME = "mteb"
_ALL, _BOTH = "all", "both"


def run(
    tasks: Sequence[str],
    data: str | None,
    loaded: tuple[str, str | None, str | None],
    settings: Sequence[str],
    out: str | None,
    as_json: bool,
) -> int:
    """Run tasks and show mteb's figures next to vlar's.

    Args:
        tasks: Kinds of own-data tasks, or ``all``; or names of mteb's own tasks.
        data: The labelled folder or CSV; for own-data tasks.
        loaded: Spec of the model, device, number type.
        settings: ``sampler=vlar``, ``mteb`` or ``both``.
        out: File for the rows.
        as_json: One JSON object a row on stdout.

    Raises:
        ModuleNotFoundError: mteb is not installed.
        UsageError: no task, no data, or a setting that does not exist.
    """
    from vlar.plugins.mteb.encoder import VlarEncoder
    from vlar.plugins.mteb.tasks import KINDS

    if find_spec("mteb") is None:
        raise ModuleNotFoundError("No module named 'mteb'", name="mteb")
    own, named = _split(tasks, KINDS)
    samplers = _samplers(settings)
    _need_data(own, data)
    rows: list[TaskRun] = []
    failed: set[str] = set()
    with progress(f"loading {loaded[0]}") as shown:
        model: Model = inputs.load_model(*loaded)
        for sampler in samplers:
            encoder = VlarEncoder(model, sampler=sampler)
            shown.stage(f"mteb, frames by {sampler}", total=len(own) + len(named), unit="tasks")
            for row in _runs(encoder, own, named, data):
                rows.append(row)
                shown(1)
            for failure in encoder.failures:
                if str(failure.path) not in failed:
                    output.failure(failure, as_json)
                failed.add(str(failure.path))
    for row in rows:
        _show(row, as_json)
    if out is not None:
        _write(Path(out), rows)
    return exit_code(len(rows), len(failed))


def _runs(
    encoder: VlarEncoder, own: Sequence[str], named: Sequence[str], data: str | None
) -> list[TaskRun]:
    from vlar.plugins.mteb.run import run_named, run_tasks
    from vlar.plugins.mteb.tasks import read_own

    rows: list[TaskRun] = []
    if own and data is not None:
        clips: OwnClips = read_own(data, encoder)
        rows += run_tasks(encoder, clips, own)
    return rows + [run_named(encoder, name) for name in named]


def _split(tasks: Sequence[str], kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """Kinds of own-data tasks, and names of mteb's tasks."""
    if not tasks:
        from vlar.errors import UsageError

        raise UsageError(
            f"no task: write 'vlar eval mteb TASK' with {_ALL}, {', '.join(kinds)}, or the name of "
            "a task of mteb"
        )
    if _ALL in tasks:
        return list(kinds), [name for name in tasks if name not in (*kinds, _ALL)]
    own = [name for name in kinds if name in tasks]
    return own, [name for name in tasks if name not in kinds]


def _samplers(settings: Sequence[str]) -> list[str]:
    from vlar.errors import UsageError
    from vlar.plugins.mteb.encoder import SAMPLERS

    given = inputs.pairs(settings, "--set")
    strange = [key for key in given if key != "sampler"]
    if strange:
        raise UsageError(f"setting {strange[0]!r} does not exist; mteb has 'sampler'")
    wanted = given.get("sampler", SAMPLERS[0])
    if wanted not in (*SAMPLERS, _BOTH):
        raise UsageError(
            f"sampler {wanted!r} does not exist; use one of {', '.join((*SAMPLERS, _BOTH))}"
        )
    return list(SAMPLERS) if wanted == _BOTH else [wanted]


def _need_data(own: Sequence[str], data: str | None) -> None:
    from vlar.errors import UsageError

    if own and data is None:
        raise UsageError(
            f"task {own[0]!r} needs labelled clips: give a folder with one folder per label, or a "
            "CSV path,label[,group], with --data"
        )


def _show(row: TaskRun, as_json: bool) -> None:
    if as_json:
        output.json_line(row)
        return
    seen = "" if row.seen is None else f"; the frames span {100 * row.seen:.0f} % of a clip"
    output.line(f"{row.task}, {row.n} clips, frames by {row.sampler}{seen}")
    for name, value in row.mteb.items():
        own = f"   vlar {row.vlar[name]:.4f}" if name in row.vlar else ""
        output.line(f"  {name:<10} mteb {value:.4f}{own}")


def _write(file: Path, rows: Sequence[TaskRun]) -> None:
    import json

    from vlar.errors import UsageError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"tasks": [row.to_dict() for row in rows]}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror})") from error
