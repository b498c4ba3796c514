"""Evaluation of result files, whoever made them."""
