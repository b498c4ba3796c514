"""Backbones: image -> features by stride."""
