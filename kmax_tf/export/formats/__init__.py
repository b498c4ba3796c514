"""Exports for other runtimes than TensorFlow: one file a format, and the table of them."""
