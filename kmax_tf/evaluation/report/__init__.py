"""The report of an evaluation: a page that needs nothing else."""
