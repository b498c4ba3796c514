"""The network: layers, sub-models and the functional model made of them."""
