"""`kmax evaluate`, which evaluator.py runs, too: evaluates a run.

Writes metrics.json, report.html and pictures/ into --output, which is the run's folder unless
given; with --submission=coco or cityscapes also submission/, as their test servers want it.
"""

from __future__ import annotations

import argparse
import os

from kmax_tf.cli import arguments

HELP = "evaluate a run (as python evaluator.py does)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sub-command's arguments."""
    parser.add_argument("--model_dir", required=True, metavar="FOLDER", help="folder of the run")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="experiment file; by default the one recorded in the run's folder",
    )
    arguments.add_overrides(parser)
    parser.add_argument(
        "--checkpoint", help="prefix or folder; by default the newest of the run's folder"
    )
    parser.add_argument("--output", help="folder of the results; by default the run's")
    parser.add_argument(
        "--mode",
        choices=["eval", "continuous_eval"],
        default="eval",
        help="once, or each checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=3600,
        metavar="SECONDS",
        help="continuous_eval ends after so many without a new checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--submission",
        choices=["coco", "cityscapes"],
        help="write files for this dataset's test server, too",
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """The evaluation as a story."""
    from kmax_tf.checkpoints.folders import checkpoints_as_they_come
    from kmax_tf.checkpoints.restore import restore_weights
    from kmax_tf.config import label_space, load_experiment
    from kmax_tf.evaluation.evaluator import evaluate_model
    from kmax_tf.evaluation.report.page import write_report
    from kmax_tf.evaluation.scores import format_table, write_results
    from kmax_tf.evaluation.submission import SUBMISSIONS
    from kmax_tf.files.ownership import check_free
    from kmax_tf.files.writing import check_writable
    from kmax_tf.model.builder import build_model

    output = args.output or args.model_dir
    config = args.config or os.path.join(args.model_dir, "experiment.textproto")
    experiment = load_experiment(config, args.overrides)
    check_writable(output)
    check_free(os.path.join(output, name) for name in ("metrics.json", "report.html"))
    # In float32, and with all threads: as `kmax predict` and the export, whose results it measures.
    model = build_model(experiment)

    labels = label_space(experiment.dataset)

    def evaluate(checkpoint: str) -> int:
        weights = restore_weights(model, checkpoint)
        print(weights.summary())
        submission = None
        if args.submission:
            submission = SUBMISSIONS[args.submission](os.path.join(output, "submission"), labels)
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

    if args.mode == "eval":
        evaluate(args.checkpoint or args.model_dir)
        return 0
    for checkpoint in checkpoints_as_they_come(args.model_dir, args.timeout):
        if evaluate(checkpoint) >= experiment.training.steps:
            break
    return 0
