"""The contract of a captioner, as a check; clips are halves of a recording of its sensor."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlar import registry
from vlar.encoders.captions import Captioner, one_text
from vlar.media.lookup import reader
from vlar.testing.contract import name_of, registered, run, skip
from vlar.testing.readers import example_of
from vlar.types import Clip, Window

Material = tuple[Captioner, Path]


def check_captioner(
    part: Any, *, argument: str | None = None, recording: str | Path | None = None
) -> None:
    """Try a captioner on two clips.

    Args:
        part: The captioner: a class, an object, or a registered name.
        argument: Text after the colon of its spec; default ``contract_argument`` of the class,
            whose None says that it needs a file or weights.
        recording: A recording of its sensor; default the one that the reader's ``example`` writes.

    Raises:
        AssertionError: it breaks the contract of ``vlar.encoders.captions.Captioner``.
        unittest.SkipTest: it needs a file or weights.
    """
    part = registry.get("captioner", part) if isinstance(part, str) else part
    cls: type[Captioner] = part if isinstance(part, type) else type(part)
    name = name_of("captioner", cls)
    argument = cls.contract_argument if argument is None else argument
    if isinstance(part, type) and argument is None:
        raise skip(f"captioner {name!r} needs a file of the user; give the check an argument")
    with tempfile.TemporaryDirectory() as folder, registered("captioner", name, cls):
        captioner = cls.from_spec(argument or "") if isinstance(part, type) else part
        source = reader(captioner.modality)
        path = Path(recording) if recording is not None else example_of(source, Path(folder) / "a")
        run("captioner", name, STEPS, (captioner, path))


def _described(m: Material) -> None:
    """A captioner states its name, fingerprint, licence and sampling, which libraries store."""
    captioner = m[0]
    assert captioner.name.split(":")[0] in registry.names("captioner"), captioner.name
    assert len(captioner.fingerprint) >= 16, f"{len(captioner.fingerprint)} characters"
    assert captioner.licence
    assert captioner.sampling.n_frames >= 1


def _captions(m: Material) -> None:
    """Captions are texts, one tuple a clip in order, the same alone and in a batch."""
    captioner, recording = m
    source = reader(captioner.modality)
    length_s = source.probe(recording).duration_s
    spans = [Window(0, length_s / 2), Window(length_s / 2, length_s)]
    sampling = replace(captioner.sampling, n_frames=3)
    read = source.read_windows(recording, spans, sampling)
    clips = [clip for clip in read if isinstance(clip, Clip)]
    together = captioner.caption(clips)
    assert len(together) == 2
    assert [captioner.caption([clip])[0] for clip in clips] == together
    for captions in together:
        assert isinstance(captions, tuple)
        assert all(text.strip() for text in captions)
        assert one_text(captions) == " ".join(captions)


def _nothing(m: Material) -> None:
    """No clip gives no caption."""
    assert m[0].caption([]) == []


STEPS = (_described, _captions, _nothing)
