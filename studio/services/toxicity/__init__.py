"""Who scores, and what they say."""
