"""Data sets that workloads train on, and how each is had: `catalog` lists and loads them."""

from models.data.catalog import CATALOG, Dataset, Entry, load

__all__ = ["CATALOG", "Dataset", "Entry", "load"]
