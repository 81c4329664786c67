"""What one server allows: sizes, lengths, waiting callers, seconds."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1 << 20


@dataclass(frozen=True)
class ServeLimits:
    """Limits of one server.

    Attributes:
        upload_bytes: Of one uploaded file.
        stored_bytes: Of all uploads together; the oldest are deleted first.
        video_s: Seconds that a recording to classify may last.
        span_s: Seconds of a span that is cut for playback.
        request_s: Seconds of one request, without the time of an upload.
        upload_s: Seconds that the body of a request may take to arrive.
        waiting: Requests of one kind that wait for their turn; further ones are refused.
        jobs: Jobs that wait; further ones are refused.
        labels: Labels of one request.
        examples: Examples of one adaptation.
        body_bytes: Of a request that is not an upload.
        connections: Open connections.
    """

    upload_bytes: int = 500 * MB
    stored_bytes: int = 2000 * MB
    video_s: float = 3600.0
    span_s: float = 60.0
    request_s: float = 60.0
    upload_s: float = 600.0
    waiting: int = 64
    jobs: int = 20
    labels: int = 1000
    examples: int = 500
    body_bytes: int = 1 * MB
    connections: int = 256
