"""The model: an encoder, a head and a calibration."""
