"""Attacks: small changes of samples, found with or without a model, after which a model errs."""
