"""What every registered captioner must keep to; those that need a file or weights skip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vlar import registry
from vlar.encoders.captions import Captioner, one_text
from vlar.media.lookup import reader
from vlar.types import Window


@pytest.fixture(scope="module", params=registry.names("captioner"))
def captioner(request: pytest.FixtureRequest) -> Captioner:
    part = registry.get("captioner", request.param)
    if part.contract_argument is None:
        pytest.skip(f"{request.param} needs a file of the user")
    return part.from_spec(part.contract_argument)


def test_it_is_described(captioner: Captioner):
    assert captioner.name.split(":")[0] in registry.names("captioner")
    assert len(captioner.fingerprint) >= 16
    assert captioner.licence
    assert captioner.sampling.n_frames >= 1


def test_clips_have_captions_in_order(captioner: Captioner, tmp_path: Path):
    source = reader(captioner.modality)
    recording = source.example(tmp_path)
    length_s = source.probe(recording).duration_s
    spans = [Window(0, length_s / 2), Window(length_s / 2, length_s)]
    clips = list(source.read_windows(recording, spans, replace(captioner.sampling, n_frames=3)))
    together = captioner.caption(clips)
    assert len(together) == 2
    assert [captioner.caption([clip])[0] for clip in clips] == together
    for captions in together:
        assert isinstance(captions, tuple)
        assert all(isinstance(text, str) and text.strip() for text in captions)
        assert one_text(captions) == " ".join(captions)
    assert captioner.caption([]) == []
