"""SavedModels with their serving signatures."""
