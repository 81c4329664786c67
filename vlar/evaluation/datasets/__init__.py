"""Data sets as they lie on disk: one reader a layout; nothing is fetched."""

from vlar.evaluation.datasets.base import Dataset, Layout, Subset
from vlar.evaluation.datasets.lookup import read_dataset

__all__ = ["Dataset", "Layout", "Subset", "read_dataset"]
