"""The *Detox* section of the *Toxicity* tab."""
