"""Reports on masks."""

from __future__ import annotations

import numpy as np

from kmax_tf.postprocessing.mask_reports import format_reports, mask_reports
from tests.reference.panoptic_maps import CAT, LABELS, ROAD

SEGMENTS = {
    "segment_fates": np.array([1, 0, 3, 2, 4]),
    "segment_classes": np.array([ROAD, CAT, CAT, ROAD, ROAD]),
    "segment_confidences": np.array([0.05, 0.9, 0.8, 0.75, 0.7], np.float32),
    "segment_scores": np.array([0.01, 0.7, 0.8, 0.0, 0.5], np.float32),
    "mask_areas": np.array([0, 40, 30, 0, 3]),
    "painted_areas": np.array([0, 40, 0, 0, 3]),
}


def test_reports_are_in_the_order_of_ranks():
    reports = mask_reports(SEGMENTS, LABELS)
    assert [report.center for report in reports] == [2, 1, 4, 0, 3]
    assert [report.fate for report in reports] == [
        *("OVERLAP", "KEPT", "AREA_LIMIT", "CLASS_THRESHOLD", "EMPTY")
    ]
    assert [report.class_name for report in reports] == ["cat", "cat", "road", "road", "road"]
    assert reports[1][4:6] == (40, 40)


def test_the_table_counts_centers_without_confidence():
    lines = format_reports(mask_reports(SEGMENTS, LABELS)).splitlines()
    assert len(lines) == 6
    assert lines[1].split() == ["2", "cat", "0.800", "0.800", "30", "0", "OVERLAP"]
    assert lines[-1] == "1 more below a confidence of 0.1"
