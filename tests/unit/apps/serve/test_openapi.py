"""The description of the HTTP interface: valid, with one short name a route."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Served


@pytest.fixture(scope="module")
def description(served: Served) -> dict[str, Any]:
    return served.client.get("/openapi.json").json()


@pytest.mark.slow
def test_the_description_is_valid(description: dict[str, Any]):
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(description)
    health = description["paths"]["/api/health"]
    wrong = {**description, "paths": {"/api/health": {"get": {**health["get"], "responses": []}}}}
    with pytest.raises(Exception, match=r"\[\] is not"):
        validator.validate(wrong)


def test_every_route_has_a_short_name_and_states_its_kind(description: dict[str, Any]):
    rows = {
        f"{method} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    names = [operation["operationId"] for operation in rows.values()]
    assert len(set(names)) == len(names) > 30
    assert all(re.fullmatch(r"[a-z_]{3,16}", name) for name in names)
    lines = rows["post /api/classify/parts"]["responses"]["200"]["content"]
    assert list(lines) == ["application/x-ndjson"]
    query = description["components"]["schemas"]["Query"]["properties"]
    assert "query" in query
    assert "text" not in query
