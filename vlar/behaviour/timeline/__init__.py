"""Timeline of a recording: scores over time, segments, and figures of repeated work."""
