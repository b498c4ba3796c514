"""What must hold between the options of post-processing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from kmax_tf.config.problems import Problem, unset
from kmax_tf.protos.experiment_pb2 import Experiment


def _class_thresholds(experiment: Experiment) -> Iterator[Problem]:
    names = [category.name for category in experiment.dataset.classes]
    seen = set()
    for index, entry in enumerate(experiment.postprocessing.class_thresholds):
        path = f"postprocessing.class_thresholds[{index}]"
        yield from unset(entry, path, "name", "threshold")
        if entry.HasField("name") and entry.name not in names:
            near = difflib.get_close_matches(entry.name, names, n=3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            yield Problem(f"{path}.name", f"the dataset has no class {entry.name!r}{hint}")
        if entry.name in seen:
            yield Problem(f"{path}.name", f"{entry.name!r} has a threshold already; keep one")
        seen.add(entry.name)


def _maps(experiment: Experiment) -> Iterator[Problem]:
    maps = list(experiment.postprocessing.maps)
    if len(set(maps)) < len(maps):
        yield Problem("postprocessing.maps", "lists a map twice; keep one")


def _views(experiment: Experiment) -> Iterator[Problem]:
    scales = list(experiment.postprocessing.test_time_augmentation.scales)
    for index, scale in enumerate(scales):
        if scale == 1 or scale in scales[:index]:
            yield Problem(
                f"postprocessing.test_time_augmentation.scales[{index}]",
                f"{scale:g} is looked at already (1 always is); leave it out",
            )


CHECKS = (_class_thresholds, _maps, _views)
