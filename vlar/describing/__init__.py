"""Descriptions for new labels: by a language model (server or local), or composed offline."""
