"""Run folders: recipe, status, events."""
