"""Sweeps: the runs of a dose-response curve queued in one click, and read together."""
