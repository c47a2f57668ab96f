"""The *Compare* tab."""
