"""Records: what conversion writes and training reads."""
