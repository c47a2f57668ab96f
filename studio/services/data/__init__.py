"""Preference data and prompts: formats, imports, the dial."""
