"""Toxicity scorers behind one protocol."""
