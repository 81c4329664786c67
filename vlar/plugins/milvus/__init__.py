"""A library in Milvus: on a server or a cluster, or embedded in a folder (Milvus Lite).

Milvus is the source of truth there: vectors, rows, recordings, tags, captions, contexts and the
manifest live in four collections (``layout``), and nothing lies in a folder of vlar.
"""
