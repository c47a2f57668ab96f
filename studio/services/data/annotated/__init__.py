"""Comparisons that people judged elsewhere: records of Argilla, Label Studio and arenas as pairs and votes."""
