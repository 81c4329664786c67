"""Event cameras: reader, encoder, representations, and towers of spikes, scans and points."""
