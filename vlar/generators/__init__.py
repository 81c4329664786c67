"""Texts made by other models: descriptions, captions, second opinions."""
