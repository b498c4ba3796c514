"""What is said about failures, and how many a run survives."""

from __future__ import annotations

import pytest
import tensorflow as tf

from kmax_tf.training.stability import FailureCounter, Failures, NonFiniteError, Patience


def failures(terms=None, variables=None) -> Failures:
    return Failures(1, 1, 1, terms or {}, variables or {})


def test_the_sentence_names_terms_and_the_first_variables() -> None:
    names = {f"part/kernel{index}:0": 2 for index in range(5)}
    text = failures({"pq_mask": 2, "semantic": 1}, names).sentence()
    assert text == (
        "loss terms that are not finite: pq_mask (2), semantic (1); gradients that are not "
        "finite: part/kernel0, part/kernel1, part/kernel2, part/kernel3 and 1 more"
    )
    assert failures().sentence() == "the norm of the gradients is not finite"


def test_without_rollbacks_the_first_row_ends_it() -> None:
    counter = FailureCounter(["term"], [])
    counter.record(tf.constant(True), tf.constant(True), tf.constant([False]), tf.zeros([0], bool))
    with pytest.raises(NonFiniteError, match=r"1 step in a row .* up to step 3: loss terms"):
        Patience(1, 0).must_go_back(counter, "step 3", "nothing", print)
