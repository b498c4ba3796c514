"""The published schedule and the optimizers, step by step, in float64."""

from __future__ import annotations

import math

import numpy as np


def warmup_poly(step, base, total, warmup, power=0.9, end=0.0):
    if step < warmup:
        return base * step / warmup
    return (base - end) * (1 - min(step, total) / total) ** power + end


def warmup_cosine(step, base, total, warmup, end=0.0):
    if step < warmup:
        return base * step / warmup
    return end + (base - end) * (1 + math.cos(math.pi * min(step, total) / total)) / 2


class _Adaptive:
    """First and second moments of the gradient."""

    def __init__(self, value, decay=0.05, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        self.value = np.array(value, np.float64)
        self.decay, self.beta_1, self.beta_2, self.epsilon = decay, beta_1, beta_2, epsilon
        self.first, self.second = np.zeros([2, *self.value.shape])
        self.steps = 0

    def moments(self, gradient):
        self.steps += 1
        self.first = self.beta_1 * self.first + (1 - self.beta_1) * gradient
        self.second = self.beta_2 * self.second + (1 - self.beta_2) * gradient**2
        return (
            self.first / (1 - self.beta_1**self.steps),
            self.second / (1 - self.beta_2**self.steps),
        )


class AdamW(_Adaptive):
    """Adam in Keras' form, after decoupled decay at the scheduled rate."""

    def step(self, gradient, rate):
        self.value -= rate * self.decay * self.value
        self.moments(gradient)
        correction = np.sqrt(1 - self.beta_2**self.steps) / (1 - self.beta_1**self.steps)
        self.value -= rate * correction * self.first / (np.sqrt(self.second) + self.epsilon)


class Lamb(_Adaptive):
    """Algorithm 2 of arXiv 1904.00962; without decay, Adam as its paper has it."""

    def step(self, gradient, rate):
        first, second = self.moments(gradient)
        update = first / (np.sqrt(second) + self.epsilon) + self.decay * self.value
        if self.decay:
            update *= np.linalg.norm(self.value) / np.linalg.norm(update)
        self.value -= rate * update


class RectifiedAdam(_Adaptive):
    """Algorithm 2 of arXiv 1908.03265, after decoupled decay."""

    def step(self, gradient, rate):
        self.value -= rate * self.decay * self.value
        first, second = self.moments(gradient)
        longest = 2 / (1 - self.beta_2) - 1
        power = self.beta_2**self.steps
        length = longest - 2 * self.steps * power / (1 - power)
        if length < 5:
            self.value -= rate * first
            return
        rectification = math.sqrt(
            (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        )
        self.value -= rate * rectification * first / (np.sqrt(second) + self.epsilon)


class Sgd:
    """Momentum, of Nesterov's kind or not, after decoupled decay."""

    def __init__(self, value, decay=1e-4, momentum=0.9, nesterov=False):
        self.value = np.array(value, np.float64)
        self.decay, self.momentum, self.nesterov = decay, momentum, nesterov
        self.speed = np.zeros_like(self.value)

    def step(self, gradient, rate):
        self.value -= rate * self.decay * self.value
        self.speed = self.momentum * self.speed - rate * gradient
        ahead = self.momentum * self.speed - rate * gradient
        self.value += ahead if self.nesterov else self.speed
