"""Verbs of the shelves: each module adds some to the command line where its package is there."""

#: Modules with a list ``VERBS`` and the package that they need, ``NEEDS``.
MODULES = ("timeline", "evaluate", "review", "serve", "describe", "ethogram")
