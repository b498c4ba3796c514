"""Predictions for other people's tools, and labels out of them: a file a format."""
