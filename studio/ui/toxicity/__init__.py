"""The *Toxicity* tab."""
