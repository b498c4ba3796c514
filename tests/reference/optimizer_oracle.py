"""The published schedule and AdamW, step by step, in float64."""

from __future__ import annotations

import numpy as np


def warmup_poly(step, base, total, warmup, power=0.9, end=0.0):
    if step < warmup:
        return base * step / warmup
    return (base - end) * (1 - min(step, total) / total) ** power + end


class AdamW:
    """Adam in Keras' form, after decoupled decay at the scheduled rate."""

    def __init__(self, value, decay=0.05, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.value = np.array(value, np.float64)
        self.decay, self.beta_1, self.beta_2, self.epsilon = decay, beta_1, beta_2, epsilon
        self.first, self.second = np.zeros([2, *self.value.shape])
        self.steps = 0

    def step(self, gradient, rate):
        self.steps += 1
        self.value -= rate * self.decay * self.value
        self.first = self.beta_1 * self.first + (1 - self.beta_1) * gradient
        self.second = self.beta_2 * self.second + (1 - self.beta_2) * gradient**2
        correction = np.sqrt(1 - self.beta_2**self.steps) / (1 - self.beta_1**self.steps)
        self.value -= rate * correction * self.first / (np.sqrt(self.second) + self.epsilon)
