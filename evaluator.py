"""Evaluates a run: python evaluator.py --config=FILE --model_dir=FOLDER [--checkpoint=PATH].

Writes metrics.json, report.html and pictures/ into --output, which is the run's folder unless
given; with --submission=coco or cityscapes also submission/, as their test servers want it.
"""

from __future__ import annotations

import os

from absl import flags

from kmax_tf.cli.command_line import run_app

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
_SUBMISSION = flags.DEFINE_enum(
    "submission", None, ["coco", "cityscapes"], "write files for this dataset's test server, too"
)
_SET = flags.DEFINE_multi_string("set", [], "override: path.to.field=value (repeatable)")


def main(_: list[str]) -> None:
    """The evaluation as a story."""
    from kmax_tf.checkpoints.folders import checkpoints_as_they_come
    from kmax_tf.checkpoints.restore import restore_weights
    from kmax_tf.config import label_space, load_experiment
    from kmax_tf.evaluation.evaluator import evaluate_model
    from kmax_tf.evaluation.report.page import write_report
    from kmax_tf.evaluation.results import format_table, write_results
    from kmax_tf.evaluation.submission import SUBMISSIONS
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.writing import check_writable
    from kmax_tf.model.builder import build_model

    model_dir = _MODEL_DIR.value
    output = _OUTPUT.value or model_dir
    config = _CONFIG.value or os.path.join(model_dir, "experiment.textproto")
    experiment = load_experiment(config, _SET.value)
    check_writable(output)
    check_free(os.path.join(output, name) for name in ("metrics.json", "report.html"))
    # In float32, and with all threads: as `kmax predict` and the export, whose results it measures.
    model = build_model(experiment)

    labels = label_space(experiment.dataset)

    def evaluate(checkpoint: str) -> int:
        weights = restore_weights(model, checkpoint)
        print(weights.summary())
        submission = None
        if _SUBMISSION.value:
            submission = SUBMISSIONS[_SUBMISSION.value](os.path.join(output, "submission"), labels)
        pictures = os.path.join(output, "pictures")
        evaluation = evaluate_model(model, experiment, pictures, submission)
        step = {"step": weights.step} if weights.step >= 0 else {}  # none of an imported one
        result = {**evaluation.result, **step}
        path = write_results(result, output)
        print(f"{format_table(result)}\nresults in {path}, pictures in {pictures}")
        title = f"Evaluation of {experiment.name}"
        report = write_report(
            output, result, labels, evaluation.confusion, evaluation.pictures, title
        )
        print(f"report in {report}")
        if submission is not None:
            print(f"submission: {submission.finish()}")
        return weights.step

    if _MODE.value == "eval":
        evaluate(_CHECKPOINT.value or model_dir)
        return
    for checkpoint in checkpoints_as_they_come(model_dir, _TIMEOUT.value):
        if evaluate(checkpoint) >= experiment.training.steps:
            break


if __name__ == "__main__":
    run_app(main)
