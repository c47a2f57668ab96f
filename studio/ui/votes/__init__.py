"""The results of the votes."""
