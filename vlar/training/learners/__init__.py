"""Learners: ways of finding a method's parameters, one file each; ``base`` has the contract."""
