"""Optional parts: Milvus, Ray, mteb, photo managers, robots, and second opinions on hits."""
