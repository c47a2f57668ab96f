"""Bases: loading, chat prompts, merging adapters."""
