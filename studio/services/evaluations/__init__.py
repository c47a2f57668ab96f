"""Before/after evaluations: the queue, their statistics, tables and exports."""
