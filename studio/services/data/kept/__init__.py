"""Datasets as they are kept: our own JSON, and Parquet where there are many rows."""
