"""What the whole page shares: theme, access, events."""
