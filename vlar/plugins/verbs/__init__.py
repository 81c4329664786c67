"""Verbs of the plugins on the command line; ``GROUP.NAME`` is a verb of a group."""

#: Verb, module in this folder, package of vlar that it needs, and the first sentence of its help.
VERBS = """
check integrity plugins.integrity Decode every frame and name the broken files.
export export plugins.export Write a model as ONNX: its towers, or an adapted one as one file.
index.tag photos plugins.photos Take tags from sidecars and names, and give found labels back.
"""
