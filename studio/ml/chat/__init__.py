"""Answers of one base with many adapters, streamed."""
