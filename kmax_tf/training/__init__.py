"""The task, the optimizer and the strategy of a training run."""
