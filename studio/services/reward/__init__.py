"""Reward runs: data, queue, card."""
