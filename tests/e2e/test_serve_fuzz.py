"""Generated requests for every route of the OpenAPI description: each is answered as described.

``VLAR_FUZZ_EXAMPLES`` sets how many requests a route gets in each mode.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests import videos

from .serving import Server, serving

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("VLAR_FUZZ_EXAMPLES", "25"))
ROUTES = 29
# Without ``positive_data_acceptance``: an id of the right form may be that of no recording.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(vlar_command, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "clips").mkdir()
    videos.make_video(folder / "clips" / "moving.mp4", 40)
    videos.make_video(folder / "clips" / "old.avi", 40, codec="mpeg4", b_frames=0)
    added = vlar_command("index", "add", folder / "small.vlar", folder / "clips", "--tag", "a=b")
    assert added.code == 0
    with serving(folder / "small.vlar", folder / "state") as server:
        server.wait_until_ready()
        yield server


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_generated_request_breaks_it(server: Server, mode: GenerationMode, capsys):
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{server.address}openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= ROUTES
    real = [each["video"] for each in server.ask("api/videos")[1]["videos"]]
    seen: Counter[int] = Counter()
    is_valid = mode == GenerationMode.POSITIVE
    checks = CHECKS if is_valid else [*CHECKS, negative_data_rejection]

    def send(case: Case) -> None:
        if is_valid and seen.total() % 2:  # else no id is ever one of the library
            if "video" in (case.path_parameters or {}):
                known = real[seen.total() % 4 // 2]
                case.path_parameters = {**case.path_parameters, "video": known}
            if isinstance(case.body, dict) and "video" in case.body:
                case.body = {**case.body, "video": real[0]}
        response = case.call(timeout=60)
        seen[response.status_code] += 1
        too_large = response.status_code == 413  # schemathesis does not count it as a refusal
        case.validate_response(response, checks=CHECKS if too_large else checks)
        if response.status_code >= 400:
            problem = response.json()
            assert {"error", "fix", "kind"} <= problem.keys()
            assert "Traceback" not in response.text
            assert "\n" not in problem["error"]

    for operation in operations:
        strategy = operation.as_strategy(generation_mode=mode)
        limits = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        with suppress(Unsatisfiable):  # a route that takes nothing cannot be asked wrongly
            limits(given(case=strategy)(send))()
    assert server.ask("api/health")[0] == 200
    assert server.process.poll() is None
    assert "Traceback" not in "".join(server.errors)
    with capsys.disabled():
        print(f"\n{mode.value}: {seen.total()} requests of {len(operations)} routes, {dict(seen)}")
