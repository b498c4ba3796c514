"""Devices of a run."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.training.strategy import RuntimeOptions, build_strategy, set_threads
from tests.options import with_defaults
from tests.processes import run_python


def test_threads_of_an_operation_are_set() -> None:
    program = (
        "import tensorflow as tf; from kmax_tf.training.strategy import set_threads; "
        "from kmax_tf.training.strategy import RuntimeOptions; "
        "set_threads(RuntimeOptions('', 0, '', '', intra_op_threads=1)); tf.ones([1]) + 1; "
        "print(tf.config.threading.get_intra_op_parallelism_threads())"
    )
    assert run_python("-c", program).stdout == "1\n"


def test_another_number_of_threads_comes_too_late() -> None:
    tf.ones([1]).numpy()
    now = tf.config.threading.get_intra_op_parallelism_threads()
    set_threads(with_defaults(RuntimeOptions, intra_op_threads=now))
    with pytest.raises(UserError, match=f"intra_op_threads {now + 3} comes too late"):
        set_threads(with_defaults(RuntimeOptions, intra_op_threads=now + 3))


def test_gpus_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match=r"runtime\.num_gpus is 64, but TensorFlow sees"):
        build_strategy(with_defaults(RuntimeOptions, num_gpus=64))
