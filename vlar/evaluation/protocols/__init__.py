"""Protocols of the field, one file each (``docs/protocols.md``)."""
