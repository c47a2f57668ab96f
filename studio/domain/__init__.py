"""The frozen types that cross floors: what a pair, a run, an event, a vote, a score and an evaluation are."""
