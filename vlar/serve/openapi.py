"""What the description of the HTTP interface states besides its routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from vlar.serve.schemas import Problem

Answers = dict[int | str, dict[str, Any]]
BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": BINARY},
    }
}
_PROBLEMS: Mapping[int, str] = {
    400: "It cannot be done as it is asked",
    401: "The token is missing or wrong",
    403: "Outside the roots, or from another site's page",
    404: "There is nothing of this name",
    405: "The path has other methods",
    408: "The body came too slowly",
    409: "Not in this state",
    410: "The file has moved",
    413: "Too large",
    415: "Not this kind of file",
    416: "The range lies beyond the end",
    421: "The server has another name",
    422: "A value cannot be used",
    423: "Another program writes to the library",
    500: "The server failed",
    503: "Too many wait, or the library cannot be read",
    504: "It took too long",
}


def problem_answers() -> Answers:
    """The errors that any route may answer with."""
    return {code: {"model": Problem, "description": text} for code, text in _PROBLEMS.items()}


def require_token(api: FastAPI) -> None:
    """State in the description of the interface that a token is needed; ``Guard`` asks for it."""
    described = api.openapi

    def openapi() -> dict[str, Any]:
        schema = described()
        scheme = {"bearer": {"type": "http", "scheme": "bearer"}}
        schema["components"]["securitySchemes"] = scheme
        schema["security"] = [{"bearer": []}]
        return schema

    api.openapi = openapi
