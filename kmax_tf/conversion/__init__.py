"""Conversion: publishers' layouts, masks and shapes to records, and their inspection."""
