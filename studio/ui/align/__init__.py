"""The *Align* tab."""
