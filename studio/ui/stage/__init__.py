"""The stage: `/stage`, one screen for a room."""
