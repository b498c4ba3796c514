"""Why a mask is in the panoptic map or isn't, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kmax_tf.labels import LabelSpace
from kmax_tf.postprocessing.postprocessor import RejectionReason


class MaskReport(NamedTuple):
    """What became of the mask of one cluster center.

    Attributes:
      center: its number.
      class_name: the class that it is most confident of, void left out.
      confidence: in that class, 0..1.
      score: what masks were ranked by.
      mask_area: pixels of the mask at the size of the network's input; 0 if it wasn't looked at.
      painted_area: of these, pixels that no mask before it took; 0 if it was refused.
      fate: "KEPT", or the rule that dropped it: "CLASS_THRESHOLD" (not confident enough of its
        class), "EMPTY" (no pixel exceeds the pixel threshold), "OVERLAP" (too much of it was taken
        by masks before it), "AREA_LIMIT" (its segment is too small).
    """

    center: int
    class_name: str
    confidence: float
    score: float
    mask_area: int
    painted_area: int
    fate: str


def mask_reports(segments: Mapping[str, np.ndarray], labels: LabelSpace) -> list[MaskReport]:
    """Reports on the masks of one image, best rank first.

    Args:
      segments: what post-processing returns of each center [N].
      labels: what class ids mean.
    """
    names = {category.id: category.name for category in labels.classes}
    reports = [
        MaskReport(
            center,
            names[int(segments["segment_classes"][center])],
            float(segments["segment_confidences"][center]),
            float(segments["segment_scores"][center]),
            int(segments["mask_areas"][center]),
            int(segments["painted_areas"][center]),
            RejectionReason(int(segments["segment_fates"][center])).name,
        )
        for center in range(len(segments["segment_fates"]))
    ]
    return sorted(reports, key=lambda report: -report.score)


def format_reports(reports: Sequence[MaskReport], least_confidence: float = 0.1) -> str:
    """Formats reports as a table; centers with hardly any confidence are only counted."""
    shown = [report for report in reports if report.confidence >= least_confidence]
    width = max([len(report.class_name) for report in shown] + [len("class")])
    lines = [f"center  {'class':<{width}}  confidence  score  mask px  painted px  fate"]
    lines += [
        f"{report.center:>6}  {report.class_name:<{width}}  {report.confidence:>10.3f}  "
        f"{report.score:>5.3f}  {report.mask_area:>7}  {report.painted_area:>10}  {report.fate}"
        for report in shown
    ]
    rest = len(reports) - len(shown)
    if rest:
        lines.append(f"{rest} more below a confidence of {least_confidence:g}")
    return "\n".join(lines)
