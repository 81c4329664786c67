"""Where an ``add`` reads and encodes: in this process, in several, on a Ray cluster."""
