"""Vectors over HTTP are those of the model in Python."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vlar
from tests import videos

from .conftest import Served

TEXTS = ["riding a bike", "a person dances slowly", "é"]


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def ask(served: Served, **body: Any) -> Any:
    answer = served.client.post("/v1/embeddings", json=body)
    return answer.status_code, answer.json()


def rows(answer: tuple[int, Any]) -> np.ndarray:
    status, body = answer
    assert status == 200, body
    assert body["object"] == "list"
    assert [each["index"] for each in body["data"]] == list(range(len(body["data"])))
    return np.array([each["embedding"] for each in body["data"]])


def test_texts_are_those_of_encode_text(served: Served, lite_model: vlar.Model):
    wanted = lite_model.encode_text(TEXTS)
    found = rows(ask(served, input=TEXTS, model="lite"))
    assert np.abs(found - wanted).max() < 1e-6
    assert np.abs(rows(ask(served, input=TEXTS[0]))[0] - wanted[0]).max() < 1e-6
    status, body = ask(
        served, input=TEXTS, encoding_format="base64", dimensions=lite_model.encoder.dim
    )
    assert status == 200
    packed = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in body["data"]]
    assert np.abs(np.stack(packed) - wanted).max() < 1e-6
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0
    assert np.abs(found[0] - wanted[1]).max() > 1e-2  # the control: another text


@pytest.mark.slow
def test_pictures_and_clips_are_those_of_encode_video(served: Served, lite_model: vlar.Model):
    clip = served.folder / "noise.mp4"
    picture = Image.fromarray(videos.noise(5))
    png = io.BytesIO()
    picture.save(png, "PNG")
    parts = [
        {"type": "image_url", "image_url": {"url": data_url("image/png", png.getvalue())}},
        {"type": "text", "text": TEXTS[1]},
        {"type": "video_url", "video_url": {"url": data_url("video/mp4", clip.read_bytes())}},
        {"type": "video_url", "video_url": {"url": f"video:{served.id_of('noise')}"}},
        TEXTS[0],
    ]
    seen = lite_model.encode_video([np.asarray(picture)])[0]
    moved = lite_model.encode_video(clip)
    words = lite_model.encode_text(TEXTS)
    found = rows(ask(served, input=parts))
    wanted = np.stack([seen, words[1], moved, moved, words[0]])
    assert np.abs(found - wanted).max(axis=1) == pytest.approx(np.zeros(5), abs=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-2  # the control


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"input": []}, 422, "input"),
        ({"input": ""}, 422, "input"),
        ({"input": [[1, 2]]}, 422, "input"),
        ({"input": "a", "model": "gone"}, 404, "no model 'gone'"),
        ({"input": "a", "dimensions": 7}, 400, "dimensions is 7"),
        ({"input": "a", "other": 1}, 422, "other"),
        ({"input": ["http://169.254.169.254/"]}, 200, ""),  # a text like any other
        ({"input": [{"image_url": "https://a.b/c.png"}]}, 400, "is not the content of a file"),
        ({"input": [{"image_url": "file:///etc/passwd"}]}, 400, "is not the content of a file"),
        ({"input": [{"image_url": "data:image/png;base64,@@"}]}, 400, "not the content"),
        ({"input": [{"image_url": "data:image/png;base64,aGVsbG8="}]}, 422, "picture or clip 0"),
        ({"input": [{"video_url": "video:" + "0" * 20}]}, 404, "no recording"),
        ({"input": [{"video_url": "upload:" + "0" * 20}]}, 404, "no upload"),
        ({"input": [{"video_url": "video:../../etc/passwd"}]}, 404, "no recording"),
    ],
)
def test_what_cannot_be_encoded(served: Served, body: Any, status: int, says: str):
    for part in body["input"]:
        for kind in ("image_url", "video_url"):
            if isinstance(part, dict) and kind in part:
                part |= {"type": kind, kind: {"url": part[kind]}}
    found = ask(served, **body)
    assert found[0] == status, found
    if status != 200:
        assert says in found[1]["error"]
        assert "/tmp" not in found[1]["error"]
