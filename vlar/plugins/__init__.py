"""Optional parts: what other libraries carry (Milvus, Ray, mteb), and second opinions on hits."""
