"""The *Before / after* section of the *Toxicity* tab and kept reports."""
