"""Code generated from the repository's protos/ when the package is installed."""
