"""The shapes in which people keep preference data: a table of them, and the fields of a row by name."""
