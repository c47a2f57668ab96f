"""What a run goes on from, and what of it answers beside its end: its steps, its steering vector."""
