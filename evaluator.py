"""Evaluates a run: python evaluator.py --model_dir=FOLDER [--checkpoint=PATH] [--config=FILE].

The same as `kmax evaluate`. kmax_tf/cli/evaluate.py has its flags and the evaluation as a story.
"""

from kmax_tf.cli.main import run_as_script

if __name__ == "__main__":
    run_as_script("evaluate")
