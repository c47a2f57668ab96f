"""Runs on a Ray cluster: the app's side, the one that writes run folders, and the task on a node."""
