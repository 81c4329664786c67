"""Killable processes that read files: a hang or a crash in native code ends one file, not the run.

A job is a function of a module, called with one file's arguments in a warm worker process. Its
results come back as they are made, arrays through shared memory. A worker that crashes, that gives
nothing for too long or that takes too much memory is ended, and the file's error has the reason.

This guards against accidents in native code. A worker is not a sandbox: it has the rights of the
program that started it.
"""
