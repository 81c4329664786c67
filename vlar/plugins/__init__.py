"""Optional parts: Milvus, Ray, mteb, photo managers, and second opinions on hits."""
