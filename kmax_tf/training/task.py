"""The task that tf-models-official's trainer runs: inputs, a training step, a validation step."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from official.core import base_task, config_definitions, exp_factory, task_factory

from kmax_tf.checkpoints.importer import import_checkpoint
from kmax_tf.checkpoints.restore import restore_weights
from kmax_tf.config import Experiment, choice_name, experiment_text, label_space
from kmax_tf.data.builder import build_dataset
from kmax_tf.evaluation.assignments import InputSizes, draw_assignments
from kmax_tf.evaluation.evaluator import measured_maps
from kmax_tf.evaluation.metrics import PanopticMetrics
from kmax_tf.figures import side_by_side
from kmax_tf.inference import Inference, RawPrediction, assignments_by_block
from kmax_tf.keras_api import keras
from kmax_tf.losses.builder import build_loss
from kmax_tf.losses.kmax_loss import total_loss
from kmax_tf.model.builder import build_model
from kmax_tf.model.kmax import KMaX
from kmax_tf.training.builder import build_training_step
from kmax_tf.training.gathering import gather_texts
from kmax_tf.training.step import TrainingStep

BEST_FOLDER = "best"


@dataclasses.dataclass
class KMaXTaskConfig(config_definitions.TaskConfig):
    """The task's configuration: the whole experiment, as the text of its proto."""

    experiment: str = ""


@exp_factory.register_config_factory("kmax")
def experiment_config(
    experiment: Optional[Experiment] = None,
) -> config_definitions.ExperimentConfig:
    """Translates an experiment into what tf-models-official's trainer reads."""
    experiment = experiment or Experiment()
    training = experiment.training
    return config_definitions.ExperimentConfig(
        task=KMaXTaskConfig(
            experiment=experiment_text(experiment),
            init_checkpoint=training.initial_checkpoint,
            train_data=config_definitions.DataConfig(is_training=True),
            validation_data=config_definitions.DataConfig(is_training=False),
        ),
        trainer=config_definitions.TrainerConfig(
            train_steps=training.steps,
            steps_per_loop=training.steps_per_loop,
            summary_interval=training.summary_interval,
            checkpoint_interval=training.checkpoint_interval,
            max_to_keep=training.checkpoints_to_keep,
            validation_interval=training.validation_interval,
            best_checkpoint_export_subdir=BEST_FOLDER,
            best_checkpoint_eval_metric=best_metric(experiment),
            recovery_max_trials=-1,  # kmax_tf.training.runner recovers in its own way
        ),
    )


def best_metric(experiment: Experiment) -> str:
    """Returns the score that tells the best checkpoint: PQ, or mask AP where there is no stuff."""
    things_only = all(category.thing for category in experiment.dataset.classes)
    return "ap" if things_only and experiment.evaluation.mask_ap else "pq/all"


@task_factory.register_task_cls(KMaXTaskConfig)
class KMaXTask(base_task.Task):
    """Panoptic segmentation with kMaX-DeepLab.

    Attributes:
      experiment: the resolved experiment.
      training_step: what `prepare_training` made.
      first_step: of this process; training data go on from there.
    """

    def __init__(
        self, params: KMaXTaskConfig, logging_dir: Optional[str] = None, name: Optional[str] = None
    ):
        super().__init__(params, logging_dir, name)
        self.experiment = text_format.Parse(params.experiment, Experiment())
        self.training_step: Optional[TrainingStep] = None
        self.first_step = 0
        self._loss_terms = build_loss(self.experiment)
        maps = measured_maps(self.experiment.evaluation.mask_ap)
        self._inference = Inference(self.experiment, maps=maps)
        self._label_space = label_space(self.experiment.dataset)

    def build_model(self) -> KMaX:
        """Builds the model."""
        return build_model(self.experiment)

    def prepare_training(self, model: KMaX) -> TrainingStep:
        """Makes the training step with its optimizer, under the model's strategy."""
        self.training_step = build_training_step(self.experiment, model)
        return self.training_step

    def initialize(self, model: KMaX) -> None:
        """Loads the initial checkpoint or weights, where the run has no checkpoint of its own."""
        if self.task_config.init_checkpoint:
            print(restore_weights(model, self.task_config.init_checkpoint).summary())
        elif self.experiment.training.initial_weights:
            print(import_checkpoint(model, self.experiment.training.initial_weights).summary())

    def build_inputs(
        self,
        params: config_definitions.DataConfig,
        input_context: Optional[tf.distribute.InputContext] = None,
    ) -> tf.data.Dataset:
        """Builds the training or the evaluation dataset."""
        training = bool(params.is_training)
        return build_dataset(self.experiment, training, input_context, self.first_step)

    def build_metrics(self, training: bool = True) -> list[keras.metrics.Metric]:
        """Makes the mean of each value that a training step reports but the total loss."""
        if not training or self.training_step is None:
            return []
        names = self.training_step.value_names
        return [keras.metrics.Mean(name) for name in names if name != self.loss]

    def train_step(
        self,
        inputs: Any,
        model: KMaX,
        optimizer: keras.optimizers.Optimizer,
        metrics: Optional[list[keras.metrics.Metric]] = None,
    ) -> dict[str, tf.Tensor]:
        """Runs one step on one replica's share of a batch."""
        if self.training_step is None:
            raise ValueError("call prepare_training(model) first")
        values = self.training_step(*inputs)
        for metric in metrics or []:
            metric.update_state(values[metric.name])
        return {self.loss: values[self.loss]}

    @tf.autograph.experimental.do_not_convert  # plain Python throughout, which is faster to trace
    def validation_step(
        self,
        inputs: Any,
        model: KMaX,
        metrics: Optional[list[keras.metrics.Metric]] = None,
    ) -> dict[str, Any]:
        """Predicts one replica's share of a batch."""
        del metrics
        images, targets, raw = inputs
        images, targets = _never_empty((images, targets))
        assignments = []
        if self.experiment.training.summary_assignments:
            predictions = model.predictions_by_block(images)
            assignments = assignments_by_block(predictions)
            del predictions["intermediate"]  # the loss is that of the final masks
        else:
            predictions = model(images, training=False)
        terms = self._loss_terms(targets, predictions)
        maps = self._inference.merge(predictions)
        return {
            "assignments": assignments,
            self.loss: total_loss(terms),
            "maps": {name: maps[name] for name in self._inference.maps},
            "images": images,
            "raw": raw,
        }

    def aggregate_logs(
        self, state: Optional[_EvaluationState], step_outputs: dict[str, Any]
    ) -> _EvaluationState:
        """Measures the images of one step, on the host."""
        if state is None:
            state = _EvaluationState(self._new_metrics())
        for replica, images in enumerate(step_outputs["images"]):
            maps = {name: values[replica] for name, values in step_outputs["maps"].items()}
            raw = {name: values[replica] for name, values in step_outputs["raw"].items()}
            assignments = [values[replica] for values in step_outputs["assignments"]]
            resolution = choice_name(self.experiment.evaluation, "resolution")
            of_batch = self._inference.by_image(images, maps, raw, resolution)
            for index, image in enumerate(of_batch):
                if state.images < self.experiment.training.summary_images:
                    drawn = self._draw(image, [values[index] for values in assignments])
                    state.pictures.update((f"{k}_{state.images}", v) for k, v in drawn.items())
                state.metrics.update(image.image_id, image.truth, image.prediction)
                state.images += 1
        return state

    def _new_metrics(self) -> PanopticMetrics:
        options = self.experiment.evaluation
        resolution = choice_name(options, "resolution")
        return PanopticMetrics(self._label_space, options.mask_ap, resolution)

    def _draw(self, image: RawPrediction, assignments: list[tf.Tensor]) -> dict[str, np.ndarray]:
        """Draws an image with its maps, and where there are cluster assignments [h, w], these."""
        pixels, panoptic, labels = image.image(), image.prediction["panoptic"], self._label_space
        pictures = {"example": side_by_side(pixels, image.truth, panoptic, labels)}
        if assignments:
            height, width = self.experiment.eval_data.crop_size
            sizes = InputSizes((height, width), tf.shape(image.fitted_image)[:2])
            clusters = draw_assignments(pixels, panoptic, assignments, sizes, labels)
            pictures["clusters"] = clusters
        return pictures

    def reduce_aggregated_logs(
        self, aggregated_logs: _EvaluationState, global_step: Optional[tf.Tensor] = None
    ) -> dict[str, Any]:
        """Returns the metrics of all workers, in percent; draws the pictures into TensorBoard."""
        for name, picture in aggregated_logs.pictures.items():
            tf.summary.image(name, picture[np.newaxis], step=global_step)
        metrics = self._new_metrics()
        for state in gather_texts(aggregated_logs.metrics.state()):
            metrics.merge_state(state)
        result = metrics.result()
        kinds = {"all"} | {"things" if c.thing else "stuff" for c in self._label_space.classes}
        scores = {
            f"{group}/{name}": value
            for group in ("pq", "sq", "rq")
            for name, value in result[group].items()
            if name in kinds  # there is no score of what isn't there
        }
        if result["ap"] and "things" in kinds:
            scores["ap"] = result["ap"]["ap"]
        scores["miou"] = result["miou"]
        return {name: np.float32(np.nan_to_num(value)) for name, value in scores.items()}


def _never_empty(inputs: Any) -> Any:
    """Makes a batch without images one with a blank image, which isn't measured.

    The share of a replica is empty where a set's last batch is smaller than the replicas are many,
    and convolutions on CPUs don't take that. (Not on TPUs, whose programs have fixed sizes.)
    """
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return inputs
    missing = tf.cast(tf.equal(tf.shape(inputs[0])[0], 0), tf.int32)

    def fill(values: tf.Tensor) -> tf.Tensor:
        return tf.pad(values, [[0, missing], *[[0, 0]] * (values.shape.rank - 1)])

    return tf.nest.map_structure(fill, inputs)


@dataclasses.dataclass
class _EvaluationState:
    """What an evaluation has seen so far."""

    metrics: PanopticMetrics
    images: int = 0
    pictures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
