"""Forms, charts and panels of a run, whatever its method."""
