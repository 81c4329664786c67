"""Few-shot heads: contract, and one file a head or family."""
