"""What is said about failures, and how many a run survives."""

from __future__ import annotations

import pytest

from kmax_tf.training.stability import Failures, NonFiniteError, Patience


def failures(row: int = 0, terms=None, variables=None) -> Failures:
    return Failures(row, row, row, terms or {}, variables or {})


def test_the_sentence_names_terms_and_the_first_variables() -> None:
    names = {f"part/kernel{index}:0": 2 for index in range(5)}
    text = failures(2, {"pq_mask": 2, "semantic": 1}, names).sentence()
    assert text == (
        "loss terms that are not finite: pq_mask (2), semantic (1); gradients that are not "
        "finite: part/kernel0, part/kernel1, part/kernel2, part/kernel3 and 1 more"
    )
    assert failures(1).sentence() == "the norm of the gradients is not finite"


def test_without_rollbacks_the_first_row_ends_it() -> None:
    with pytest.raises(NonFiniteError, match="in a row"):
        Patience(1, 0).is_over(failures(1), "here")
