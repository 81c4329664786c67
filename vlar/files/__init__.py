"""Files that other people made, fetched weights, killable workers, folders of the user."""
