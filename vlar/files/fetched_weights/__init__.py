"""Files that ``vlar models get`` fetches out of pinned packages: one JSON file here for each."""
