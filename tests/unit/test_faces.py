"""What can be asked is the same everywhere: a field of a request is one of all four faces."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tests.docs import verbs
from vlar.apps.serve import schemas
from vlar.apps.serve.agent_tools import Reading
from vlar.library.library import Library
from vlar.library.query.request import QueryRequest
from vlar.model.model import Model
from vlar.model.requests import ClassifyRequest
from vlar.options import fields_of

FACES = {
    "query": (QueryRequest, Library.query, schemas.Query, Reading.search),
    "classify": (ClassifyRequest, Model.classify, schemas.Classify, Reading.classify),
}
#: Adds a field to the source of a request, and prints which faces have it.
ADDED = """
import importlib, inspect, sys
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated
from vlar.options import Option

REQUESTS = (
    ("library.query.request", "QueryRequest"),
    ("library.ingest.request", "AddRequest"),
    ("model.requests", "ClassifyRequest"),
    ("model.requests", "AdaptRequest"),
)
for module, name in REQUESTS:
    module = importlib.import_module(f"vlar.{module}")
    request = getattr(module, name)
    row = ("pace", Annotated[int, Option("How fast.", "1..9")], field(default=3, kw_only=True))
    extended = make_dataclass(name, [row], bases=(request,), frozen=True)
    extended.__module__ = module.__name__
    setattr(module, name, extended)

from tests.docs import verbs
from vlar.apps.serve import schemas
from vlar.apps.serve.agent_tools import Reading
from vlar.library.library import Library
from vlar.model.model import Model

methods = (Library.query, Library.add, Model.classify, Model.adapt)
for method in (*methods, Reading.search, Reading.classify):
    assert inspect.signature(method).parameters["pace"].default == 3, method
for body in (schemas.Query, schemas.Add, schemas.Classify, schemas.Adapt):
    schema = body.model_json_schema()["properties"]["pace"]
    assert (schema["minimum"], schema["maximum"], schema["description"]) == (1, 9, "How fast.")
for verb in ("query", "index add", "classify", "adapt"):
    assert "--pace N" in verbs.help_of(verb), verb
print("in all")
"""


@pytest.mark.parametrize("verb", FACES)
def test_what_can_be_asked_is_the_same_everywhere(verb: str):
    request, method, body, tool = FACES[verb]
    options = {row.name: row for row in fields_of(request)}
    python = inspect.signature(method).parameters
    assert options.keys() <= python.keys()
    text = verbs.help_of(verb)
    for name, row in options.items():
        flags = [word for word in row.option.spelling.split() if word.startswith("-")]
        flag = flags[0] if flags else f"--{name.replace('_', '-')}"
        shown = flag if len(flag.lstrip("-")) > 1 else f"-{name}"
        assert shown in text, name
        assert row.default == python[name].default
    afar = {name for name, row in options.items() if row.option.remote}
    assert afar <= set(body.model_fields)
    assert afar <= set(inspect.signature(tool).parameters)
    here = options.keys() - afar  # the control: what names a file stays on this machine
    assert not here & set(body.model_fields)
    assert {"tree", "detector"} <= here or {"rerank"} == here


def test_a_field_that_is_added_reaches_all_faces():
    done = subprocess.run(
        [sys.executable, "-c", ADDED], capture_output=True, text=True, check=False
    )
    assert done.stdout == "in all\n", done.stderr
