"""Verbs of behaviour on the command line."""

#: Verb, module in this folder, package of vlar that it needs, and the first sentence of its help.
VERBS = """
timeline timeline behaviour Find what recordings show when, as segments.
review review behaviour List the clips that teach most if a person labels them.
ethogram ethogram behaviour Make a table of behaviour: bouts, shares and latencies of labels.
agreement agreement behaviour Measure how far annotations of the same recordings agree.
"""
