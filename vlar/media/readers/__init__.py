"""Readers, one file a sensor."""
