"""Optional parts: Milvus, Ray, mteb, photo managers, robots, ONNX files, and second opinions."""
