"""Intervals, agreement and Bradley-Terry ratings."""
