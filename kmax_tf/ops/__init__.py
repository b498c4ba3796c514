"""Numerical operations, each once: its definition, then what is faster where."""
