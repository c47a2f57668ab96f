"""Bases: the list of them, and how they come here (Hub, package registry, GGUF files)."""
