"""The HTTP interface: it translates requests into calls of the application, and errors back."""

# A route is used by its decorator.
# pyright: reportUnusedFunction=false
from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from vlar.apps.serve import schemas
from vlar.apps.serve.access import CONTENT_TYPE, COOKIE, Access, Metrics, RequestGuard
from vlar.apps.serve.application import Application
from vlar.apps.serve.embeddings import add_embeddings
from vlar.apps.serve.errors import ServeError, answer_of
from vlar.apps.serve.exports import EXPORTS
from vlar.apps.serve.files import file_response
from vlar.apps.serve.lanes import LANES, BoundedExecutor
from vlar.apps.serve.media import WIDTHS
from vlar.apps.serve.schemas import Problem
from vlar.apps.serve.tasks import AdaptExample
from vlar.errors import VlarError
from vlar.library.ingest.request import AddRequest
from vlar.media.video.frames import Box
from vlar.model.requests import AdaptRequest
from vlar.options import remote_values
from vlar.types import JsonDict
from vlar.version import __version__

BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}
UPLOAD_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}}
_PROBLEMS = (
    *(400, 401, 403, 404, 405, 408, 409, 410, 413),
    *(415, 416, 421, 422, 423, 500, 503, 504, 507),
)


def _sends(kind: str, *codes: int) -> dict[str, Any]:
    """Settings of a route whose answer is not JSON."""
    answers = {code: {"content": {kind: BINARY}} for code in codes or (200,)}
    return {"response_class": Response, "responses": answers}


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


_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css"}
_FILES = {file.name: file for file in (resources.files("vlar.apps.serve") / "page").iterdir()}


@cache
def page_file(name: str) -> tuple[bytes, str]:
    """Content and type of a file of the page.

    Raises:
        ServeError: 404 where the page has no such file.
    """
    if name not in _FILES:
        raise ServeError(404, "the page has no such file", "open /", "not_found")
    kind = _TYPES.get(Path(name).suffix)
    return _FILES[name].read_bytes(), f"{kind}; charset=utf-8" if kind else "image/svg+xml"


@cache
def packed_page_file(name: str) -> bytes:
    """Content of a file of the page as gzip."""
    return gzip.compress(page_file(name)[0], mtime=0)


@cache
def page_tag(name: str) -> str:
    """Entity tag of a file of the page, by which a browser asks only for what has changed."""
    return f'W/"{hashlib.sha256(page_file(name)[0]).hexdigest()[:16]}"'


_WRONG_TOKEN_S = 0.3
VideoId = Annotated[str, InPath(pattern=r"^[0-9a-f]{20}$")]
JobId = Annotated[str, InPath(pattern=r"^[0-9a-f]{16}$")]
Moment = Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)]
ExportKind = Annotated[str, InPath(pattern=f"^({'|'.join(EXPORTS)})$")]
Filters = Annotated[tuple[schemas.Filter, ...], Query(max_length=20)]
Range = Annotated[str | None, Header(alias="range", include_in_schema=False)]


class HttpInterface:
    """Routes over one application."""

    def __init__(self, application: Application, access: Access) -> None:
        self._do, self._access = application, access
        waiting = application.limits.waiting
        self._lanes = {
            name: BoundedExecutor(name, workers, waiting) for name, workers in LANES.items()
        }
        callers = [lane for name, lane in self._lanes.items() if name != "views"]
        application.bench.has_callers = lambda: any(lane.pending for lane in callers)
        self._metrics = Metrics(self._gauges)

    def app(self) -> ASGIApp:
        """The application for a server that calls ASGI."""
        api = FastAPI(
            title="vlar serve",
            version=__version__,
            description="Search, classify and adapt over one library of videos.",
            docs_url=None,  # these pages load scripts from the net
            redoc_url=None,
            responses={
                c: {"model": Problem, "description": HTTPStatus(c).phrase} for c in _PROBLEMS
            },
            generate_unique_id_function=lambda route: route.name,
            lifespan=self._lifespan,
        )
        for kind in (VlarError, RequestValidationError, HTTPException, Exception):
            api.add_exception_handler(kind, _answer)
        if self._access.needs_token:
            require_token(api)
        self._add_page(api)
        self._add_reads(api)
        self._add_media(api)
        self._add_work(api)
        self._add_bench(api)
        self._add_labels(api)
        add_embeddings(api, self._run, self._do)
        return RequestGuard(api, self._access, self._do.limits, self._metrics)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncGenerator[None, None]:
        # A daemon: Ctrl-C does not wait for a large model to load.
        threading.Thread(target=self._warm_up, name="vlar-warm-up", daemon=True).start()
        yield
        for lane in self._lanes.values():
            lane.close()

    def _warm_up(self) -> None:
        with suppress(VlarError):  # the first query answers with the same error
            self._do.warm_up()

    async def _run(self, lane: str, function: Any, *arguments: Any, **named: Any) -> Any:
        limit_s = self._do.limits.request_s
        return await self._lanes[lane].run(limit_s, function, *arguments, **named)

    def _gauges(self) -> dict[str, dict[str, float]]:
        states = [job.state for job in self._do.tasks.jobs.all()]
        return {
            "waiting": {name: lane.pending for name, lane in self._lanes.items()},
            "jobs": {state: states.count(state) for state in sorted(set(states))},
            "upload_bytes": {"": self._do.uploads.stored_bytes},
            "model_ready": {"": float(self._do.models.is_ready)},
        }

    # Routes

    def _add_page(self, api: FastAPI) -> None:
        @api.get("/", include_in_schema=False)
        @api.get("/page/{name}", include_in_schema=False)
        async def page(
            name: str = "index.html",
            accepts: Annotated[str, Header(alias="accept-encoding", include_in_schema=False)] = "",
            has: Annotated[str, Header(alias="if-none-match", include_in_schema=False)] = "",
        ) -> Response:
            content, kind = page_file(name)
            headers = {"cache-control": "no-cache", "vary": "accept-encoding"}
            headers["etag"] = page_tag(name)
            if headers["etag"] in has:
                return Response(status_code=304, headers=headers)
            if "gzip" in accepts:
                content, headers["content-encoding"] = packed_page_file(name), "gzip"
            return Response(content, media_type=kind, headers=headers)

        @api.get("/api/health", summary="Whether the server answers, and is ready")
        async def health() -> JsonDict:
            ready = self._do.models.is_ready
            return {"status": "ok", "ready": ready, "needs_token": self._access.needs_token}

        @api.post("/api/session", summary="Exchange the token for a cookie of 12 hours")
        async def session(body: schemas.Token) -> Response:
            if not self._access.is_token(body.token):
                await asyncio.sleep(_WRONG_TOKEN_S)
                raise ServeError(401, "the token is wrong", "copy it from the token file", "token")
            answer = JSONResponse({"status": "ok"})
            value = self._access.new_session()
            answer.set_cookie(COOKIE, value, httponly=True, samesite="strict", path="/")
            return answer

        @api.get("/metrics", summary="Figures for Prometheus", response_class=Response)
        async def metrics() -> Response:
            return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    def _add_reads(self, api: FastAPI) -> None:
        do = self._do

        @api.get("/api/library", summary="Facts of the library, models, limits")
        async def library() -> JsonDict:
            return await self._run("reads", do.describe)

        @api.get("/api/videos", summary="Recordings of the library, by path")
        async def videos(
            offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
            limit: Annotated[int, Query(ge=1, le=500)] = 50,
            contains: Annotated[str, Query(max_length=500)] = "",
            where: Filters = (),
            sort: Literal["path", "name", "longest", "shortest", "newest"] = "path",
        ) -> JsonDict:
            return await self._run("reads", do.videos, offset, limit, contains, where, sort)

        @api.get("/api/videos/{video}/rows", summary="Windows of a recording")
        async def rows(video: VideoId) -> JsonDict:
            return await self._run("reads", do.rows, video)

        @api.post("/api/query", summary="Spans that answer a query, best first")
        async def query(body: schemas.Query) -> JsonDict:
            return await self._run("queries", do.search, body.plain())

        @api.get("/api/concepts", summary="Names for what judgements of hits taught")
        async def concepts() -> JsonDict:
            return await self._run("reads", do.concepts)

        @api.post("/api/concepts", summary="Keep what judgements taught, under a name")
        async def teach(body: schemas.Teach) -> JsonDict:
            return await self._run("changes", do.teach, body.name, body.text, body.yes, body.no)

        @api.post("/api/concepts/remove", summary="Forget a concept")
        async def forget(body: schemas.Forget) -> JsonDict:
            return await self._run("changes", do.forget, body.name)

        @api.post("/api/timeline", summary="A query over every window of one recording")
        async def timeline(body: schemas.Timeline) -> JsonDict:
            return await self._run("queries", do.curves, body.text, body.video)

    def _add_media(self, api: FastAPI) -> None:
        do = self._do
        jpeg, mp4 = _sends("image/jpeg"), _sends("video/mp4", 200, 206)

        @api.get("/api/videos/{video}/thumbnail", summary="The picture of a moment", **jpeg)
        async def thumbnail(
            video: VideoId,
            at_s: Moment = 0.0,
            width: Annotated[int, Query(ge=16, le=1280)] = WIDTHS[1],
            box: Annotated[str, Query(pattern=_BOX, description="in per cent of the frame")] = "",
        ) -> Response:
            part = _part(box) if box else None
            picture = await self._run("pictures", do.thumbnail, video, at_s, _step(width), part)
            headers = {"cache-control": "private, max-age=3600"}
            return Response(picture, media_type="image/jpeg", headers=headers)

        @api.get(
            "/api/videos/{video}/file",
            summary="The recording as it is, whole or a range of it",
            **mp4,
        )
        async def file(video: VideoId, ranges: Range = None) -> Response:
            path: Path = await self._run("reads", do.sources.file, video)
            return file_response(path, ranges)

        @api.get(
            "/api/videos/{video}/span", summary="A span as an mp4 that every browser plays", **mp4
        )
        async def span(
            video: VideoId, start_s: Moment, end_s: Moment, ranges: Range = None
        ) -> Response:
            path: Path = await self._run("cuts", do.span, video, start_s, end_s)
            return file_response(path, ranges)

    def _add_work(self, api: FastAPI) -> None:
        do = self._do

        @api.post(
            "/api/uploads", status_code=201, summary="Send a video", openapi_extra=UPLOAD_BODY
        )
        async def upload(
            request: Request, name: Annotated[str, Query(max_length=500)] = "video"
        ) -> JsonDict:
            try:
                return (await do.uploads.receive(name, request.stream())).to_dict()
            except ClientDisconnect as problem:
                error = "the upload ended before its end"
                raise ServeError(400, error, "send it again", "cut_off") from problem

        @api.post("/api/classify", summary="Which label fits a recording")
        async def classify(body: schemas.Classify) -> JsonDict:
            return await self._run(
                "classifying", partial(do.classify, *body.plain(), **body.options())
            )

        @api.post(
            "/api/classify/parts",
            summary="The same, one JSON object a line: the total, then each answer as it is made",
            **_sends("application/x-ndjson"),
        )
        async def classify_parts(body: schemas.Classify) -> Response:
            lines = self._parts(partial(do.classify, *body.plain(), **body.options()))
            return StreamingResponse(lines, media_type="application/x-ndjson")

        @api.post("/api/adapt", status_code=202, summary="Learn labels from examples, as a job")
        async def adapt(body: schemas.Adapt) -> JsonDict:
            examples = [AdaptExample(example.plain(), example.label) for example in body.examples]
            request_values = remote_values(AdaptRequest, body)
            return await self._run("changes", do.tasks.adapt, body.name, examples, **request_values)

        @api.post("/api/jobs", status_code=202, summary="Index recordings, as a job")
        async def add(body: schemas.Add) -> JsonDict:
            asked = {"uploads": body.uploads, **remote_values(AddRequest, body)}
            return await self._run("changes", do.tasks.add, body.paths, body.tags, **asked)

        @api.post("/api/evaluate", status_code=202, summary="Compare answers with labels: a job")
        async def evaluate(body: schemas.Evaluate) -> JsonDict:
            return await self._run("changes", do.tasks.evaluate, **body.model_dump())

        @api.post("/api/review", status_code=202, summary="Find the most doubtful windows: a job")
        async def review(body: schemas.Review) -> JsonDict:
            return await self._run("changes", do.tasks.review, **body.model_dump())

        @api.get("/api/jobs", summary="Jobs, the newest first")
        async def jobs() -> JsonDict:
            return {"jobs": [job.to_dict(brief=True) for job in do.tasks.jobs.all()]}

        @api.get("/api/jobs/{job}", summary="One job")
        async def one_job(job: JobId) -> JsonDict:
            return do.tasks.jobs.get(job).to_dict()

        @api.post("/api/jobs/{job}/cancel", summary="End a job; what it finished is kept")
        async def cancel(job: JobId) -> JsonDict:
            return do.tasks.jobs.cancel(job).to_dict()

        @api.post("/api/jobs/{job}/resume", summary="Start a job again that failed or was ended")
        async def resume(job: JobId) -> JsonDict:
            return do.tasks.jobs.resume(job).to_dict()

    async def _parts(self, ask: Any) -> AsyncGenerator[bytes, None]:
        """Lines of answers; where the caller goes away, nothing more is read."""
        loop, rows = asyncio.get_running_loop(), asyncio.Queue[JsonDict | None]()
        gone = threading.Event()

        def on_part(row: JsonDict) -> bool:
            loop.call_soon_threadsafe(rows.put_nowait, row)
            return not gone.is_set()

        lane, limit_s = self._lanes["classifying"], self._do.limits.stream_s
        work = asyncio.ensure_future(lane.run(limit_s, ask, on_part=on_part))
        work.add_done_callback(lambda _: rows.put_nowait(None))
        try:
            while (row := await rows.get()) is not None:
                yield json.dumps(row).encode() + b"\n"
            problem = work.exception()
            if isinstance(problem, Exception):
                yield json.dumps({"problem": answer_of(problem)[1]}).encode() + b"\n"
        finally:
            gone.set()
            work.cancel()

    def _add_bench(self, api: FastAPI) -> None:
        bench = self._do.bench

        @api.get("/api/facets", summary="Values of tags, lengths, people, with their counts")
        async def facets(where: Filters = ()) -> JsonDict:
            return await self._run("reads", bench.facets, where)

        @api.get("/api/map", summary="Windows as points of a plane")
        async def windows_map(where: Filters = ()) -> JsonDict:
            return await self._run("views", bench.map, where)

        @api.get("/api/views/{kind}", summary="Windows that stand out, or recordings alike")
        async def view(
            kind: Literal["unusual", "highlights", "duplicates"],
            k: Annotated[int, Query(ge=1, le=200)] = 40,
            where: Filters = (),
        ) -> JsonDict:
            return await self._run("views", bench.view, kind, k, where)

        @api.get("/api/suggestions", summary="Queries that this library answers")
        async def suggestions() -> JsonDict:
            return await self._run("views", bench.suggestions)

        @api.post("/api/tags", summary="Change tags of recordings, of all or of none")
        async def tag(body: schemas.Tag) -> JsonDict:
            changes = [(change.video, change.tags, change.before) for change in body.changes]
            return await self._run("changes", bench.tag, changes)

        @api.post("/api/remove", summary="Move recordings to the bin; files stay")
        async def remove(body: schemas.Remove) -> JsonDict:
            return await self._run("changes", bench.remove, body.videos)

        @api.get("/api/bin", summary="What was removed in the last 30 days")
        async def removals() -> JsonDict:
            return await self._run("reads", bench.removed.listing)

        @api.post("/api/restore", summary="Bring the recordings of a removal back")
        async def restore(body: schemas.Restore) -> JsonDict:
            return await self._run("changes", bench.removed.restore, body.bin)

        @api.post(
            "/api/export/{kind}", summary="Spans as a file", **_sends("application/octet-stream")
        )
        async def export(kind: ExportKind, body: schemas.Export) -> Response:
            spans = [(span.video, span.start_s, span.end_s) for span in body.spans]
            lane, limit_s = self._lanes["exports"], self._do.limits.stream_s
            content = await lane.run(limit_s, self._do.export, kind, body.title, spans)
            name = f'attachment; filename="vlar.{EXPORTS[kind][0]}"'
            headers = {"content-disposition": name}
            return Response(content, media_type="application/octet-stream", headers=headers)

    def _add_labels(self, api: FastAPI) -> None:
        desk = self._do.labels

        @api.get("/api/videos/{video}/labels", summary="Labelled spans of a recording")
        async def labels(video: VideoId) -> JsonDict:
            return await self._run("reads", desk.read, video)

        @api.post("/api/videos/{video}/labels", summary="Replace them, unless they changed")
        async def set_labels(video: VideoId, body: schemas.Labels) -> JsonDict:
            rows = [span.model_dump() for span in body.segments]
            return await self._run("changes", desk.write, video, body.version, rows)

        @api.get("/api/labels", summary="Labelled spans of the whole library")
        async def all_labels() -> JsonDict:
            return await self._run("reads", desk.every)

        @api.post("/api/labels/read", summary="Spans that a file of annotations has of a recording")
        async def read_labels(body: schemas.LabelFile) -> JsonDict:
            return await self._run("labels", desk.read_file, body.video, body.name, body.text)

        @api.post("/api/segments", summary="Spans that a model sees in a whole recording")
        async def segments(body: schemas.Segments) -> JsonDict:
            lane, limit_s = self._lanes["segments"], self._do.limits.stream_s
            return await lane.run(limit_s, self._do.segments, body.video, body.labels, body.model)

        @api.post(
            "/api/labels/export",
            summary="Labelled spans as a file of annotations",
            **_sends("application/octet-stream"),
        )
        async def export_labels(body: schemas.LabelExport) -> Response:
            content, ending = await self._run(
                "labels", desk.export, body.form, body.videos, body.fps
            )
            headers = {"content-disposition": f'attachment; filename="labels{ending}"'}
            return Response(content, media_type="application/octet-stream", headers=headers)


_BOX = r"^$|^\d{1,3}(,\d{1,3}){3}$"


def _part(text: str) -> Box:
    """The box, 0 to 1 of the frame, of its left, top, right and bottom in per cent.

    Raises:
        ServeError: 400 where it is empty or leaves the frame.
    """
    left, top, right, bottom = (int(side) / 100 for side in text.split(","))
    if not (left < right <= 1 and top < bottom <= 1):
        fix = "give left, top, right and bottom in per cent, such as 10,20,40,30"
        raise ServeError(400, f"the box {text} is not a part of the frame", fix, "box")
    return left, top, right, bottom


def _step(width: int) -> int:
    """The least width of thumbnails that is wide enough: few sizes are kept."""
    return next((bucket for bucket in WIDTHS if bucket >= width), WIDTHS[-1])


async def _answer(_: Request, problem: Exception) -> JSONResponse:
    """Every error as one JSON object of the same form."""
    if isinstance(problem, RequestValidationError):
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        error, fix = f"{field}: {first['msg']}", "send it as GET /openapi.json describes"
        problem = ServeError(422, error, fix, "invalid")
    elif isinstance(problem, HTTPException):
        fix = "GET /openapi.json lists what there is"
        serve_error = ServeError(problem.status_code, str(problem.detail), fix, "http")
        status, body, headers = answer_of(serve_error)
        return JSONResponse(body, status, {**headers, **(problem.headers or {})})
    status, body, headers = answer_of(problem)
    return JSONResponse(body, status, headers)
