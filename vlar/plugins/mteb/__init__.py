"""mteb, the embedding benchmark: models of vlar in it, and tasks over a labelled folder or table.

``mteb.evaluate(VlarEncoder("lite"), own_tasks("videos/"))`` runs offline. Frames come through
vlar's reader, so torchcodec is not needed.
"""
