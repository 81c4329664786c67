"""People in clips: finding, following, naming and cutting them out."""
