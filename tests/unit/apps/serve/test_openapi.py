"""The description of the HTTP interface: valid, whole, and equal to what is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from .conftest import Served
from .test_http import post
from .test_workbench import ended


@pytest.fixture(scope="module")
def description(served: Served) -> dict[str, Any]:
    document = served.client.get("/openapi.json").json()
    return {**document, "closed": closed(document["components"])}


def operations(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def answered(operation: dict[str, Any]) -> dict[str, Any]:
    """Content of the successful answer of a route, by its type."""
    return next(row for code, row in operation["responses"].items() if code < "3")["content"]


def closed(schema: Any) -> Any:
    """The same schema, which refuses keys that it does not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner


def fits(answer: Any, description: dict[str, Any], route: str, kind: str = "application/json"):
    operation = dict(operations(description))[route]
    schema = {**answered(operation)[kind]["schema"], "components": description["closed"]}
    jsonschema.Draft202012Validator(schema).validate(answer)


@pytest.mark.slow
def test_the_description_is_valid(served: Served):
    validator = pytest.importorskip("openapi_spec_validator")
    document = served.client.get("/openapi.json").json()
    validator.validate(document)
    document["paths"]["/api/health"]["get"]["responses"] = []
    with pytest.raises(Exception, match=r"is not|valid"):
        validator.validate(document)


def test_every_route_has_a_short_name_and_a_schema(description: dict[str, Any]):
    rows = dict(operations(description))
    names = [operation["operationId"] for operation in rows.values()]
    assert len(set(names)) == len(names) > 30
    assert all(re.fullmatch(r"[a-z_]{3,16}", name) for name in names)
    assert not [name for name in description["components"]["schemas"] if "__" in name]
    without = []
    for route, operation in rows.items():
        for kind, content in answered(operation).items():
            if kind in ("application/json", "application/x-ndjson"):
                schema = content.get("schema", {})
                without += [] if {"$ref", "anyOf"} & schema.keys() else [route]
            else:
                assert content["schema"] == {"type": "string", "format": "binary"}, route
    assert without == []
    hit = description["components"]["schemas"]["Hit"]
    assert hit["properties"]["score"]["description"].startswith("0 to 1; it ranks.")
    assert {"video", "rank", "path", "probability"} <= set(hit["required"])
    assert "caption" not in hit["required"]


def test_what_is_read_fits_its_schema(served: Served, description: dict[str, Any]):
    for path in ("health", "library", "videos", "concepts", "jobs", "facets", "bin", "labels"):
        fits(served.client.get(f"/api/{path}").json(), description, f"get /api/{path}")
    for part in ("rows", "labels"):
        answer = served.client.get(f"/api/videos/{served.id_of('moving')}/{part}").json()
        fits(answer, description, f"get /api/videos/{{video}}/{part}")
    wrong = {**served.client.get("/api/health").json(), "more": 1}
    with pytest.raises(jsonschema.ValidationError, match="more"):
        fits(wrong, description, "get /api/health")


def test_answers_of_queries_fit_their_schema(served: Served, description: dict[str, Any]):
    for text in ("a moving square", '"a square" AND "noise"'):
        answer = post(served, "query", query=text, min_probability=0).json()
        assert answer["hits"]
        fits(answer, description, "post /api/query")
    answer = post(served, "timeline", query="a square", video=served.id_of("moving")).json()
    fits(answer, description, "post /api/timeline")
    answer = served.client.post("/v1/embeddings", json={"input": ["a square"]}).json()
    fits(answer, description, "post /v1/embeddings")


@pytest.mark.slow
def test_views_and_answers_of_models_fit_their_schema(served: Served, description: dict[str, Any]):
    for path in ("map", "suggestions"):
        fits(served.client.get(f"/api/{path}").json(), description, f"get /api/{path}")
    for kind in ("unusual", "highlights", "duplicates"):
        answer = served.client.get(f"/api/views/{kind}").json()
        fits(answer, description, "get /api/views/{kind}")
    video, labels = served.id_of("moving"), ["a square", "noise"]
    answer = post(served, "segments", video=video, labels=labels).json()
    fits(answer, description, "post /api/segments")
    body = {"source": {"video": video}, "labels": labels, "every_s": 1}
    fits(post(served, "classify", **body).json(), description, "post /api/classify")
    lines = post(served, "classify/parts", **body).text.splitlines()
    assert len(lines) > 1
    for line in lines:
        fits(json.loads(line), description, "post /api/classify/parts", "application/x-ndjson")


def test_answers_to_changes_fit_their_schema(served: Served, description: dict[str, Any]):
    video = served.id_of("noise")
    content = (served.folder / "noise.mp4").read_bytes()
    answer = served.client.post("/api/uploads?name=a.mp4", content=content).json()
    fits(answer, description, "post /api/uploads")
    tags = {"changes": [{"video": video, "tags": {"light": "dim"}}]}
    fits(post(served, "tags", **tags).json(), description, "post /api/tags")
    span = {"start_s": 0.0, "end_s": 0.5, "label": "noise"}
    answer = post(served, f"videos/{video}/labels", version=0, segments=[span]).json()
    fits(answer, description, "post /api/videos/{video}/labels")
    answer = served.client.get(f"/api/videos/{video}/labels").json()
    assert answer["segments"] == [span]
    fits(answer, description, "get /api/videos/{video}/labels")
    fits(served.client.get("/api/labels").json(), description, "get /api/labels")
    answer = post(served, "labels/read", video=video, name="a.csv", text="")
    assert answer.status_code == 400
    jsonschema.validate(answer.json(), description["components"]["schemas"]["Problem"])
    answer = post(served, "remove", videos=[video]).json()
    fits(answer, description, "post /api/remove")
    fits(served.client.get("/api/bin").json(), description, "get /api/bin")
    fits(post(served, "restore", bin=answer["bin"]).json(), description, "post /api/restore")
    job = post(served, "jobs", paths=[str(served.folder / "noise.mp4")]).json()
    fits(job, description, "post /api/jobs")
    fits(ended(served, job), description, "get /api/jobs/{job}")
