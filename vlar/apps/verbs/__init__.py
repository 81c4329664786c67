"""Verbs of the shelves: each is on the command line where the package that it needs is there."""

#: Verb, module in this folder, package of vlar that it needs, and the first sentence of its help.
VERBS = """
train train training Train an adapter by a configuration file.
evaluate evaluate evaluation Measure how well a model recognises labelled recordings.
eval evaluate evaluation Score a model by a protocol of the field.
report evaluate evaluation Compare runs of 'vlar eval' and results of 'vlar evaluate'.
watch serve apps.serve Add new recordings to a library, or send out which labels turn on.
serve serve apps.serve Serve a page and an HTTP interface for one library.
mcp serve apps.serve Let an agent search a library, by the Model Context Protocol.
skill serve apps.serve Print a skill file for agents: which verb answers which wish.
events events methods.events Make synthetic events of an event camera from a video.
describe describe generators Write descriptions for labels into a bank, or check banks.
"""
