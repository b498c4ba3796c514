"""Convolution, normalization, resizing and attention, value by value, in float64.

Weights are given as dictionaries of arrays; every normalization is a tuple
(scale, offset, mean, variance) whose arrays broadcast against what they normalize.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

EPSILON = 1e-3


def gelu(x):
    return x * 0.5 * (1.0 + erf(x / math.sqrt(2.0)))


def relu(x):
    return np.maximum(x, 0.0)


def softmax(x):
    exponent = np.exp(x - x.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)


def normalize(x, norm, epsilon=EPSILON):
    scale, offset, mean, variance = norm
    return (x - mean) / np.sqrt(variance + epsilon) * scale + offset


def batch_statistics(x, axes):
    """Mean and variance over the axes, with the uncorrected variance."""
    mean = x.mean(axes, keepdims=True)
    return mean, ((x - mean) ** 2).mean(axes, keepdims=True)


def convolve(x, kernel, stride=1, dilation=1):
    """[B, H, W, C] * [k, k, C, F]: odd kernels, zeros around; aligned corners where strided."""
    size = kernel.shape[0]
    reach = dilation * (size - 1) // 2
    batch, height, width, _ = x.shape
    rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
    out = np.zeros([batch, rows, columns, kernel.shape[3]])
    for row in range(rows):
        for column in range(columns):
            for i in range(size):
                for j in range(size):
                    y = row * stride + i * dilation - reach
                    z = column * stride + j * dilation - reach
                    if 0 <= y < height and 0 <= z < width:
                        out[:, row, column] += x[:, y, z] @ kernel[i, j]
    return out


def convolve_depthwise(x, kernel):
    """[B, H, W, C] with a kernel [k, k, C, 1]."""
    channels = [
        convolve(x[..., c : c + 1], kernel[:, :, c : c + 1]) for c in range(kernel.shape[2])
    ]
    return np.concatenate(channels, axis=-1)


def convolve_patches(x, kernel):
    """[B, H, W, C] * [k, k, C, F] with stride k: one value for each whole patch."""
    size = kernel.shape[0]
    batch, height, width, _ = x.shape
    out = np.zeros([batch, height // size, width // size, kernel.shape[3]])
    for row in range(height // size):
        for column in range(width // size):
            patch = x[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            out[:, row, column] = np.einsum("bijc,ijcf->bf", patch, kernel)
    return out


def resize(x, height, width):
    """Bilinear with aligned corners: the first and last rows and columns stay where they are."""
    out = np.zeros([x.shape[0], height, width, x.shape[3]])
    for row in range(height):
        for column in range(width):
            y = row * (x.shape[1] - 1) / max(height - 1, 1)
            z = column * (x.shape[2] - 1) / max(width - 1, 1)
            top, left = int(y), int(z)
            bottom, right = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
            upper = x[:, top, left] * (1 - (z - left)) + x[:, top, right] * (z - left)
            lower = x[:, bottom, left] * (1 - (z - left)) + x[:, bottom, right] * (z - left)
            out[:, row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return out


def axis_attention(x, weights, heads, max_span):
    """Position-sensitive attention along the middle axis of [n, L, C], pair by pair.

    `weights`: qkv_kernel; query_, key_ and value_positions; norms qkv (per channel), similarity
    ([3, heads]: content, query position, key position) and output ([2, heads, d]: content,
    position).
    """
    n, length, _ = x.shape
    values = weights["value_positions"].shape[1] * heads
    keys = weights["query_positions"].shape[1] * heads
    qkv = normalize(x @ weights["qkv_kernel"], weights["qkv"])
    key_depth, value_depth = keys // heads, values // heads
    similarity_norm = [np.asarray(part) for part in weights["similarity"]]
    output_norm = [np.asarray(part) for part in weights["output"]]
    out = np.zeros([n, length, values])
    for image in range(n):
        for head in range(heads):
            query = qkv[image, :, head * key_depth : (head + 1) * key_depth]
            key = qkv[image, :, keys + head * key_depth : keys + (head + 1) * key_depth]
            first = 2 * keys + head * value_depth
            value = qkv[image, :, first : first + value_depth]
            for here in range(length):
                logits = np.zeros(length)
                rows = [
                    min(max(there - here + max_span - 1, 0), 2 * max_span - 2)
                    for there in range(length)
                ]
                for there, row in enumerate(rows):
                    terms = [
                        query[here] @ key[there],
                        query[here] @ weights["query_positions"][row],
                        key[there] @ weights["key_positions"][row],
                    ]
                    for term, similarity in enumerate(terms):
                        norm = [part[term, head] for part in similarity_norm]
                        logits[there] += normalize(similarity, norm)
                share = softmax(logits)
                content = sum(share[m] * value[m] for m in range(length))
                position = sum(
                    share[m] * weights["value_positions"][rows[m]] for m in range(length)
                )
                for term, retrieved in enumerate((content, position)):
                    norm = [part[term, head] for part in output_norm]
                    out[image, here, head * value_depth : (head + 1) * value_depth] += normalize(
                        retrieved, norm
                    )
    return out


def self_attention(centers, weights, heads):
    """Attention among centers [B, N, C].

    `weights`: qkv_kernel [C, 2 K + V] and norm qkv; those of `attend`. K is
    `weights["key_channels"]`.
    """
    keys = weights["key_channels"]
    qkv = normalize(centers @ weights["qkv_kernel"], weights["qkv"])
    return attend(*np.split(qkv, [keys, 2 * keys], axis=-1), weights, heads)


def attend(query, key, value, weights, heads):
    """Attention from [B, N, K] to [B, L, K], one head and one query at a time.

    `weights`: output_kernel; norms similarity ([heads]), value ([heads, d]) and output.
    """
    retrieved = np.zeros([*query.shape[:2], value.shape[-1]])
    key_depth, value_depth = key.shape[-1] // heads, value.shape[-1] // heads
    for image in range(query.shape[0]):
        for head in range(heads):
            of_key = slice(head * key_depth, (head + 1) * key_depth)
            of_value = slice(head * value_depth, (head + 1) * value_depth)
            for center in range(query.shape[1]):
                logits = np.array([query[image, center, of_key] @ k for k in key[image, :, of_key]])
                logits = normalize(logits, [part[head] for part in weights["similarity"]])
                mixed = softmax(logits) @ value[image, :, of_value]
                mixed = normalize(mixed, [part[head] for part in weights["value"]])
                retrieved[image, center, of_value] = gelu(mixed)
    return normalize(retrieved @ weights["output_kernel"], weights["output"])


def assign_and_sum(mask_logits, values):
    """The k-means update: each pixel's value goes to its best center, the lowest of equals.

    [B, P, N] and [B, P, C] -> ([B, P] index of the center, [B, N, C] sums).
    """
    batch, pixels, centers = mask_logits.shape
    best = np.zeros([batch, pixels], int)
    sums = np.zeros([batch, centers, values.shape[2]])
    for image in range(batch):
        for pixel in range(pixels):
            for center in range(centers):
                if (
                    mask_logits[image, pixel, center]
                    > mask_logits[image, pixel, best[image, pixel]]
                ):
                    best[image, pixel] = center
            sums[image, best[image, pixel]] += values[image, pixel]
    return best, sums


def layer_normalize(x, scale, offset, epsilon=1e-6):
    mean, variance = batch_statistics(x, -1)
    return (x - mean) / np.sqrt(variance + epsilon) * scale + offset
