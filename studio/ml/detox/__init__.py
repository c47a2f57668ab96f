"""Reinforcement learning against a toxicity scorer."""
