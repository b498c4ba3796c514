"""Panoptic quality, mask AP, mean IoU, and results as files and pictures."""
