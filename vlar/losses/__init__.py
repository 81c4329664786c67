"""Losses as plain functions of tensors; an adapter or an objective adds them up."""
