"""The embedded toxicity scorer."""
