"""Optional parts that other libraries carry: Milvus, Ray, mteb."""
