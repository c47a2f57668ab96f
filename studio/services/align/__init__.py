"""DPO runs: from the form to the queue, and sentences that read their curves."""
