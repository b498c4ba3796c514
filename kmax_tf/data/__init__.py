"""Datasets: records, augmentation, targets and the input pipeline."""
