"""From settings to a queued run."""
