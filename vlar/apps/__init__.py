"""Programs over the library and the model: command line, server, review, timelines, live input."""
