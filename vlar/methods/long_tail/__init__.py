"""Objectives for labels with very different numbers of examples."""
