"""Optional parts: Milvus, Ray, mteb, photo managers, robots, ONNX files, streams, and others."""
