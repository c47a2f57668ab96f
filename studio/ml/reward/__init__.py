"""Reward models: training, scoring, their report."""
