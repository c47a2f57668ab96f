"""The *Reward* tab."""
