"""Trains an experiment: python trainer.py --config=FILE --model_dir=FOLDER --mode=train_and_eval.

The same as `kmax train`. kmax_tf/cli/train.py has its flags and the run as a story.
"""

from kmax_tf.cli.main import run_as_script

if __name__ == "__main__":
    run_as_script("train")
