"""Which rows are too long for a run, known from the tokenizer alone."""
