"""Tests in the order of the house: ``tests/<floor>/<feature>/test_*.py``; what they share is in ``helpers`` and ``fixtures``."""
