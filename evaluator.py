"""Evaluates a run: python evaluator.py --config=FILE --model_dir=FOLDER [--checkpoint=PATH].

Writes metrics.json and pictures/ into --output, which is the run's folder unless given.
"""

from __future__ import annotations

import os

from absl import flags

from kmax_tf.command_line import run_app

_CONFIG = flags.DEFINE_string(
    "config", None, "experiment file; by default the one recorded in the run's folder"
)
_MODEL_DIR = flags.DEFINE_string("model_dir", None, "folder of the run", required=True)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "prefix or folder; by default the newest of the run's folder"
)
_OUTPUT = flags.DEFINE_string("output", None, "folder of the results; by default the run's")
_MODE = flags.DEFINE_enum("mode", "eval", ["eval", "continuous_eval"], "once, or each checkpoint")
_TIMEOUT = flags.DEFINE_integer(
    "timeout", 3600, "continuous_eval ends after so many seconds without a new checkpoint"
)
_SET = flags.DEFINE_multi_string("set", [], "override: path.to.field=value (repeatable)")


def main(_: list[str]) -> None:
    """The evaluation as a story."""
    import tensorflow as tf

    from kmax_tf.checkpoints.restore import restore_weights
    from kmax_tf.config import load_experiment
    from kmax_tf.evaluation.evaluator import evaluate_model
    from kmax_tf.evaluation.results import format_table, write_results
    from kmax_tf.files import check_writable
    from kmax_tf.model.builder import build_model
    from kmax_tf.training.strategy import set_precision

    model_dir = _MODEL_DIR.value
    output = _OUTPUT.value or model_dir
    config = _CONFIG.value or os.path.join(model_dir, "experiment.textproto")
    experiment = load_experiment(config, _SET.value)
    check_writable(output)
    set_precision(experiment.runtime)
    model = build_model(experiment)

    def evaluate(checkpoint: str) -> int:
        report = restore_weights(model, checkpoint)
        print(report.summary())
        result = evaluate_model(model, experiment, os.path.join(output, "pictures"))
        path = write_results({**result, "step": report.step}, output)
        print(f"{format_table(result)}\nresults in {path}, pictures in {output}/pictures")
        return report.step

    if _MODE.value == "eval":
        evaluate(_CHECKPOINT.value or model_dir)
        return
    for checkpoint in tf.train.checkpoints_iterator(model_dir, timeout=_TIMEOUT.value):
        if evaluate(checkpoint) >= experiment.training.steps:
            break


if __name__ == "__main__":
    run_app(main)
