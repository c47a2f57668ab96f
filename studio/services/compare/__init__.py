"""Base and adapters side by side: panes, the before/after table, several draws."""
