"""One library for people and programs: a page, an HTTP interface and an agent interface.

``application.py`` is what all of them call: plain Python over ``Library`` and ``Model``.
``http.py`` and ``agent.py`` only translate. Nothing here computes what the library or the model
compute.
"""
