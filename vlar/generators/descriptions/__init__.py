"""Writing descriptions for new labels, with a language model or from the packaged banks."""
