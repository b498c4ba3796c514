"""Pictures of panoptic maps for people: overlays with names, side by side, with a legend."""

from __future__ import annotations

from kmax_tf.figures.clusters import Assignment, draw_clusters
from kmax_tf.figures.overlay import draw_panoptic
from kmax_tf.figures.panels import draw_errors, draw_legend, side_by_side
from kmax_tf.panoptic.colors import segment_colors

__all__ = [
    "Assignment",
    "draw_clusters",
    "draw_errors",
    "draw_legend",
    "draw_panoptic",
    "segment_colors",
    "side_by_side",
]
