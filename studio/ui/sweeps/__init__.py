"""The *Sweep* section of the Align tab: many runs in one click, read together."""
