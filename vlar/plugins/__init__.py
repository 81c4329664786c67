"""Optional parts: Milvus, Ray, mteb, photos, robots, ONNX files, streams, sources, and others."""
