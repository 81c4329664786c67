"""Formats of annotations, one file a program; they are found by their ``@register``."""
