"""mteb, the embedding benchmark: ``mteb.evaluate(VlarEncoder("lite"), tasks)``.

Frames come through vlar's reader, so torchcodec is not needed.
"""
