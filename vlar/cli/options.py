"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from vlar.cli.choices import Choices

_DTYPES = Choices(
    "number type",
    lambda: ("auto", "float32", "bf16", "int8", "bfloat16", "float16", "fp32", "fp16"),
)

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace an existing model.")]
Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A name from 'vlar models', or the folder of a model."
    ),
]
LibraryModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Default: the library's own; 'lite' for a new library.",
    ),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the model computes: cpu, cuda, cuda:1. Default: by the model.",
    ),
]
Dtype: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        autocompletion=_DTYPES.complete,
        help="Precision that the model computes in; bf16 and int8 are faster for CLIP models on "
        "a CPU. Default: by the model.",
    ),
    _DTYPES,
]
Support: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="SUPPORT",
        help="A folder with one folder of recordings per label, or a CSV file with the columns "
        "path,label[,start_s,end_s].",
    ),
]
Recordings: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="PATH", help="Files, or folders that are searched for recordings."),
]
Retry = Annotated[
    bool, typer.Option("--retry", help="Read files again that crashed or took too long before.")
]
Shots = Annotated[
    bool,
    typer.Option(
        "--shots",
        help="Judge a film with cuts shot by shot (once before: vlar models get shots).",
    ),
]
