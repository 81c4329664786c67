"""The route of docs/extending_apps.md, and the rows of all routes on the page of the server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.docs.pages import ROOT
from tests.e2e.test_extending import FILES
from tests.unit.apps.serve.conftest import HOST, Served
from vlar.apps.serve import http
from vlar.apps.serve.access import Access
from vlar.apps.serve.application import Application


def test_the_route_of_the_page_answers(served: Served, monkeypatch: pytest.MonkeyPatch):
    module: dict[str, Any] = {"__name__": "vlar.apps.serve.longest"}
    exec(FILES["longest.py"], module)
    add = http.add_embeddings

    def added(api: FastAPI, run: Any, application: Application) -> None:
        add(api, run, application)
        module["add_longest"](api, run, application)

    monkeypatch.setattr(http, "add_embeddings", added)  # in place of the line in ``app``
    app = http.HttpInterface(served.application, Access(None)).app()
    with TestClient(app, HOST, raise_server_exceptions=False) as client:
        rows = client.get("/api/longest", params={"count": 2}).json()["longest"]
        assert client.get("/api/longest", params={"count": 0}).status_code == 422
    videos = served.client.get("/api/videos", params={"sort": "longest"}).json()["videos"]
    assert [row["video"] for row in rows] == [row["video"] for row in videos[:2]]
    assert rows[0]["duration_s"] >= rows[1]["duration_s"] > 0


def test_every_route_has_its_row(served: Served):
    page = (ROOT / "docs" / "serve.md").read_text("utf-8")
    routes = served.client.get("/openapi.json").json()["paths"]
    assert len(routes) > 30
    assert not [route for route in routes if not has_row(page, route)]
    assert not has_row(page, "/api/longest")


def has_row(page: str, route: str) -> bool:
    """Whether the page names a route, whole or by its end after another of the same beginning."""
    whole = re.sub(r"\{\w+\}", "ID", route)
    begin, _, end = whole.rpartition("/")
    return f"{whole}`" in page or (
        f"{begin}/" in page and re.search(rf"[`/]{end}[`?]", page) is not None
    )
