"""Restoring weights, with a report of what was and was not restored."""
