"""Detox runs: from the form to the queue, their result and card."""
