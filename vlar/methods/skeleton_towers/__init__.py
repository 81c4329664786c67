"""Skeleton towers: one network of published block families on the joints of several people."""
