"""People and things in a recording: boxes over time, tracks, and cuts that follow them."""
