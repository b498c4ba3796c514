"""Matching of segments to cluster centers, and the loss terms."""
