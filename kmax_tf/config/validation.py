"""What must hold between the fields of an experiment: a list of small checks.

A check is a generator of problems. The ranges of single numbers are in config_ranges.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any

from kmax_tf.config.problems import Problem
from kmax_tf.config.ranges import out_of_range
from kmax_tf.grids import grid_side, is_valid_side, valid_sides_near
from kmax_tf.protos import dataset_pb2, experiment_pb2, model_pb2, training_pb2

_BACKBONE_STRIDES = (4, 8, 16, 32)
_DECODER_STRIDES = (32, 16, 8, 4, 2)


def problems(experiment: experiment_pb2.Experiment, num_replicas: int = 1) -> list[Problem]:
    """Returns all that is wrong with an experiment.

    Args:
      experiment: resolved, as load_experiment gives it.
      num_replicas: devices that share a batch.
    """
    # The checks divide by numbers, so these must be in range first.
    found = list(out_of_range(experiment))
    if not found:
        found = [problem for check in _CHECKS for problem in check(experiment)]
        found.extend(_batch_divides(experiment, num_replicas))
    return found


def dataset_problems(dataset: dataset_pb2.Dataset) -> list[Problem]:
    """Returns all that is wrong with a dataset description by itself."""
    alone = experiment_pb2.Experiment(dataset=dataset)
    found = list(out_of_range(alone))
    return found or [problem for check in _DATASET_CHECKS for problem in check(alone)]


def decoder_strides(model: model_pb2.Model) -> tuple[int, ...]:
    """Returns the strides of the pixel decoder's features, coarse to fine."""
    return _DECODER_STRIDES[: len(model.pixel_decoder.stages)]


def mask_stride(model: model_pb2.Model) -> int:
    """Returns the stride of the mask logits: that of the finest pixel features."""
    finest = decoder_strides(model)[-1]
    stays_coarse = model.HasField("convnext") and not model.convnext.stem_to_stride_2
    return max(finest, 4) if stays_coarse else finest


def _parts_present(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    for parent, group, choices in (
        ("model", "backbone", "resnet { ... } or convnext { ... }"),
        ("training.optimizer", "algorithm", "adamw {}, lamb {}, rectified_adam {} or sgd {}"),
        ("training.optimizer", "schedule", "poly {} or cosine {}"),
        ("postprocessing", "merging", "mask_wise {} or pixel_wise {}"),
    ):
        message: Any = experiment
        for name in parent.split("."):
            message = getattr(message, name)
        if message.WhichOneof(group) is None:
            yield Problem(parent, f"has no {group}; give it {choices}")


def _crops(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        crop = list(getattr(experiment, name).crop_size)
        path = f"{name}.crop_size"
        if len(crop) != 2:
            yield Problem(path, f"must have two values, height and width, not {len(crop)}")
            continue
        for index, side in enumerate(crop):
            if not is_valid_side(side):
                text = " or ".join(map(str, valid_sides_near(side)))
                yield Problem(
                    f"{path}[{index}]",
                    f"must be 32k + 1, for corners to stay aligned at all strides; {side} is not, "
                    f"{text} is near",
                )


def _resizing(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        data = getattr(experiment, name)
        if 0 < data.max_size < data.min_size:
            yield Problem(
                f"{name}.min_size",
                f"{data.min_size} is more than max_size {data.max_size}; swap or equal them",
            )
    data = experiment.eval_data
    if len(data.crop_size) == 2 and data.max_size > max(data.crop_size):
        yield Problem(
            "eval_data.max_size",
            f"{data.max_size} is more than the longer side of crop_size {max(data.crop_size)}: "
            f"parts of images would never be seen; lower it or enlarge the crop",
        )


def _augmentation(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    for name in ("train_data", "eval_data"):
        scales = getattr(experiment, name).augmentation
        if scales.min_scale > scales.max_scale:
            yield Problem(
                f"{name}.augmentation.min_scale",
                f"{scales.min_scale:g} is more than max_scale {scales.max_scale:g}",
            )


def _colors(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    change = experiment.train_data.augmentation
    path = "train_data.augmentation.color"
    if not change.HasField("color"):
        return
    if not change.color.sequences:
        yield Problem(path, "has no sequences; give them, or leave color out")
    for index, sequence in enumerate(change.color.sequences):
        place = f"{path}.sequences[{index}]"
        if not sequence.steps:
            yield Problem(place, "has no steps; give them, one of probability 0 to change nothing")
        for number, step in enumerate(sequence.steps):
            if not step.HasField("operation"):
                yield Problem(f"{place}.steps[{number}]", "has no operation; give it")


def _service(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    if experiment.eval_data.service_address:
        yield Problem(
            "eval_data.service_address", "only training data come from a service; leave it out"
        )
    caching = experiment.train_data.WhichOneof("caching")
    if experiment.train_data.service_address and caching:
        yield Problem(
            f"train_data.{caching}",
            "a tf.data service prepares examples elsewhere, where a cache would hold other ones "
            "for each worker; leave out one of the two",
        )


def _backbone(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    model = experiment.model
    lists = {"resnet": ("stages",), "convnext": ("blocks", "channels")}
    backbone = model.WhichOneof("backbone") or ""
    for name in lists.get(backbone, ()):
        count = len(getattr(getattr(model, backbone), name))
        if count != len(_BACKBONE_STRIDES):
            yield Problem(
                f"model.{backbone}.{name}",
                f"must be four, for strides 4, 8, 16 and 32, not {count}",
            )


def _pixel_decoder(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    decoder = experiment.model.pixel_decoder
    if not 3 <= len(decoder.stages) <= len(_DECODER_STRIDES):
        yield Problem(
            "model.pixel_decoder.stages",
            f"must be 3 to 5, for strides 32, 16, 8 (, 4, 2), not {len(decoder.stages)}",
        )


def _stages(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    model = experiment.model
    heads = model.axial_attention.num_heads
    for parent in ("resnet", "pixel_decoder"):
        for index, stage in enumerate(getattr(model, parent).stages):
            path = f"model.{parent}.stages[{index}]"
            for name in ("filters", "blocks"):
                if not stage.HasField(name):
                    yield Problem(path, f"has no {name}; give it")
            if model_pb2.AXIAL in (stage.first_block_type, stage.block_type) and (
                stage.filters % heads
            ):
                yield Problem(
                    f"{path}.filters",
                    f"{stage.filters} cannot be shared by axial_attention.num_heads = {heads}; "
                    f"give a multiple of {heads}",
                )


def _transformer_decoder(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    decoder = experiment.model.transformer_decoder
    path = "model.transformer_decoder"
    produced = decoder_strides(experiment.model)
    if not decoder.block_strides:
        yield Problem(f"{path}.block_strides", "must list a stride for each kMaX block")
    for index, stride in enumerate(decoder.block_strides):
        if stride not in produced:
            yield Problem(
                f"{path}.block_strides[{index}]",
                f"the pixel decoder gives no features of stride {stride}; "
                f"it has {', '.join(map(str, produced)) or 'none'}",
            )
    for name in ("key_channels", "value_channels"):
        channels = getattr(decoder, name)
        if channels % decoder.num_heads:
            yield Problem(
                f"{path}.{name}",
                f"{channels} cannot be shared by num_heads = {decoder.num_heads}; "
                f"give a multiple of {decoder.num_heads}",
            )


def _heads(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    if experiment.model.heads.kernel_size % 2 == 0:
        yield Problem("model.heads.kernel_size", "must be odd")


def _semantic_decoder(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    if not experiment.model.HasField("semantic_decoder"):
        return
    path = "model.semantic_decoder.low_levels"
    previous = _BACKBONE_STRIDES[-1]
    for index, level in enumerate(experiment.model.semantic_decoder.low_levels):
        if level.stride not in _BACKBONE_STRIDES or level.stride >= previous:
            known = ", ".join(str(s) for s in reversed(_BACKBONE_STRIDES) if s < previous)
            yield Problem(
                f"{path}[{index}].stride",
                f"must be one of {known or 'none: leave it out'} (coarse to fine), "
                f"not {level.stride}",
            )
        previous = min(previous, level.stride)
        if not level.HasField("channels"):
            yield Problem(f"{path}[{index}]", "has no channels; give it")


def _samples(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    term = experiment.losses.instance_discrimination
    crop = experiment.train_data.crop_size
    if not term.weight or len(crop) != 2 or not experiment.model.pixel_decoder.stages:
        return
    stride = mask_stride(experiment.model)
    height, width = (grid_side(side, stride) for side in crop)
    if term.sample_count > height * width:
        yield Problem(
            "losses.instance_discrimination.sample_count",
            f"{term.sample_count} pixels cannot be sampled from the {height} x {width} = "
            f"{height * width} of the mask logits (stride {stride}); lower it",
        )


def _loss_weights(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    losses = experiment.losses
    terms = (losses.pq_style, losses.mask_id, losses.instance_discrimination, losses.semantic)
    if not any(term.weight for term in terms):
        yield Problem("losses", "every term has weight 0: nothing would be learnt")


def _schedule(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    training, optimizer = experiment.training, experiment.training.optimizer
    if optimizer.warmup_steps > training.steps:
        yield Problem(
            "training.optimizer.warmup_steps",
            f"{optimizer.warmup_steps} is more than training.steps {training.steps}; lower it too",
        )
    if optimizer.end_learning_rate > optimizer.learning_rate:
        yield Problem(
            "training.optimizer.end_learning_rate",
            f"{optimizer.end_learning_rate:g} is more than learning_rate "
            f"{optimizer.learning_rate:g}",
        )
    if training.summary_interval % training.steps_per_loop:
        yield Problem(
            "training.summary_interval",
            f"{training.summary_interval} must be a multiple of steps_per_loop "
            f"{training.steps_per_loop}: summaries are written between loops",
        )


def _start(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    training = experiment.training
    if training.initial_checkpoint and training.initial_weights:
        yield Problem(
            "training.initial_weights",
            "training starts from initial_checkpoint already; leave one of them empty",
        )


def _runtime(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    runtime = experiment.runtime
    on_tpu = runtime.strategy == training_pb2.TPU
    if runtime.tpu and not on_tpu:
        yield Problem("runtime.tpu", "has no effect unless strategy is TPU; set that too")
    if on_tpu and runtime.precision == training_pb2.MIXED_FLOAT16:
        yield Problem("runtime.precision", "TPUs have no float16; take MIXED_BFLOAT16")


def _dataset(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    if not dataset.classes:
        yield Problem("dataset", "has no classes; give dataset_file, or classes in place")
        return
    for name in ("num_ids", "ignore_label"):
        if not dataset.HasField(name):
            yield Problem("dataset", f"has no {name}; give it")
    things = sum(category.thing for category in dataset.classes)
    if dataset.HasField("num_ids") and things > dataset.num_ids:
        yield Problem(
            "dataset.classes",
            f"more thing classes ({things}) than classes at all (num_ids = {dataset.num_ids})",
        )


def _label_divisor(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    centers = experiment.model.transformer_decoder.num_centers
    if dataset.label_divisor <= centers:
        yield Problem(
            "dataset.label_divisor",
            f"{dataset.label_divisor} must exceed num_centers = {centers}, the largest instance "
            f"id that a prediction can have",
        )


def _classes(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    dataset = experiment.dataset
    for index, category in enumerate(dataset.classes):
        path = f"dataset.classes[{index}]"
        for name in ("id", "name"):
            if not category.HasField(name):
                yield Problem(path, f"has no {name}; give it")
        if dataset.HasField("num_ids") and category.id >= dataset.num_ids:
            yield Problem(f"{path}.id", f"{category.id} must be below num_ids = {dataset.num_ids}")
        if dataset.HasField("ignore_label") and category.id == dataset.ignore_label:
            yield Problem(f"{path}.id", f"{category.id} is the ignore_label, so no class can be it")
        if len(category.color) not in (0, 3):
            yield Problem(
                f"{path}.color", f"must be red, green, blue; it has {len(category.color)} values"
            )
    yield from _duplicates(dataset)
    names = [split.name for split in dataset.splits]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"dataset.splits[{index}].name", f"{name!r} is there twice; remove one")


def _duplicates(dataset: dataset_pb2.Dataset) -> Iterator[Problem]:
    for name in ("id", "name", "original_id"):
        first: dict[Any, int] = {}
        for index, category in enumerate(dataset.classes):
            if not category.HasField(name):
                continue
            value = getattr(category, name)
            if value in first:
                yield Problem(
                    f"dataset.classes[{index}].{name}",
                    f"{value!r} is already that of classes[{first[value]}]",
                )
            first.setdefault(value, index)
    given = {c.original_id: i for i, c in enumerate(dataset.classes) if c.HasField("original_id")}
    for index, category in enumerate(dataset.classes):
        if not category.HasField("original_id") and category.id in given:
            yield Problem(
                f"dataset.classes[{index}].id",
                f"{category.id} is the original_id of classes[{given[category.id]}], and a class "
                "without one keeps its id; give both their original_id",
            )


def _largest_id(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    """Panoptic ids are int32: class id * label_divisor + instance."""
    dataset = experiment.dataset
    ids = {f"dataset.classes[{i}].id": entry.id for i, entry in enumerate(dataset.classes)}
    ids["dataset.ignore_label"] = dataset.ignore_label
    path = max(ids, key=lambda place: ids[place])
    largest = ids[path]
    if (largest + 1) * dataset.label_divisor > 2**31:
        if dataset.HasField("label_divisor"):
            path = "dataset.label_divisor"
        yield Problem(
            path,
            f"the id {largest} and label_divisor {dataset.label_divisor} give panoptic ids up to "
            f"{(largest + 1) * dataset.label_divisor - 1}, but int32 holds {2**31 - 1} at most; "
            "lower one of them",
        )


def _class_thresholds(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    names = [category.name for category in experiment.dataset.classes]
    seen = set()
    for index, entry in enumerate(experiment.postprocessing.class_thresholds):
        path = f"postprocessing.class_thresholds[{index}]"
        for name in ("name", "threshold"):
            if not entry.HasField(name):
                yield Problem(path, f"has no {name}; give it")
        if entry.HasField("name") and entry.name not in names:
            near = difflib.get_close_matches(entry.name, names, n=3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            yield Problem(f"{path}.name", f"the dataset has no class {entry.name!r}{hint}")
        if entry.name in seen:
            yield Problem(f"{path}.name", f"{entry.name!r} has a threshold already; keep one")
        seen.add(entry.name)


def _maps(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    maps = list(experiment.postprocessing.maps)
    if len(set(maps)) < len(maps):
        yield Problem("postprocessing.maps", "lists a map twice; keep one")


def _views(experiment: experiment_pb2.Experiment) -> Iterator[Problem]:
    scales = list(experiment.postprocessing.test_time_augmentation.scales)
    for index, scale in enumerate(scales):
        if scale == 1 or scale in scales[:index]:
            yield Problem(
                f"postprocessing.test_time_augmentation.scales[{index}]",
                f"{scale:g} is looked at already (1 always is); leave it out",
            )


def _batch_divides(experiment: experiment_pb2.Experiment, num_replicas: int) -> Iterator[Problem]:
    batch = experiment.train_data.batch_size
    parts = experiment.training.optimizer.micro_batches
    shares = num_replicas * parts
    if batch % shares:
        near = max(batch // shares, 1) * shares
        by = f"{num_replicas} replicas" + (f" x {parts} micro_batches" if parts > 1 else "")
        yield Problem("train_data.batch_size", f"{batch} cannot be shared by {by}; {near} can")


_DATASET_CHECKS = (_dataset, _classes, _largest_id)
_CHECKS: tuple[Callable[[experiment_pb2.Experiment], Iterator[Problem]], ...] = (
    _parts_present,
    *_DATASET_CHECKS,
    _label_divisor,
    _crops,
    _resizing,
    _augmentation,
    _colors,
    _service,
    _backbone,
    _pixel_decoder,
    _stages,
    _transformer_decoder,
    _heads,
    _semantic_decoder,
    _samples,
    _loss_weights,
    _schedule,
    _start,
    _runtime,
    _class_thresholds,
    _maps,
    _views,
)
