"""What a recording shows when: scores over time, segments, and figures of repeated work."""
