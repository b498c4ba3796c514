"""What failed steps leave behind: counts on the device, and sentences about them on the host.

A step fails when a loss term or the gradient isn't finite. It is skipped on the device; the host
reads the counts once a loop, so that no step waits for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Callable

import numpy as np
import tensorflow as tf

from kmax_tf.errors import UserError
from kmax_tf.wording import count_of

_SHOWN = 4  # names in a sentence


class NonFiniteError(UserError):
    """Losses or gradients that keep failing to be finite."""


@dataclasses.dataclass(frozen=True)
class Failures:
    """What failed since the host last read the counts.

    Attributes:
      steps: failed steps.
      longest_streak: most failed steps in a row, those before that reading included.
      skipped: skipped steps since the start: the failed ones, and those whose scaled loss
        overflowed float16, which is no failure.
      terms: failed steps by loss term.
      variables: failed steps by variable, those first that failed most.
    """

    steps: int
    longest_streak: int
    skipped: int
    terms: dict[str, int]
    variables: dict[str, int]

    def sentence(self) -> str:
        """Says what wasn't finite."""
        terms = _first([f"{name} ({count})" for name, count in self.terms.items()])
        gradients = _first([name.split(":")[0] for name in self.variables])
        return "; ".join(
            part
            for part in (
                terms and f"loss terms that are not finite: {terms}",
                gradients and f"gradients that are not finite: {gradients}",
                not terms and not gradients and "the norm of the gradients is not finite",
            )
            if part
        )


class FailureCounter:
    """Counts on the device. Every replica keeps the same, so writing needs no communication.

    Attributes:
      term_names, variable_names: of what is counted.
    """

    def __init__(self, term_names: Sequence[str], variable_names: Sequence[str]):
        self.term_names = list(term_names)
        self.variable_names = list(variable_names)
        self.skipped = _counter("skipped")
        self.streak = _counter("streak")
        self._longest_streak = _counter("longest_streak")
        self._steps = _counter("failed_steps")
        self._terms = _counter("failed_terms", len(self.term_names))
        self._variables = _counter("failed_variables", len(self.variable_names))

    def record(
        self, skipped: tf.Tensor, failed: tf.Tensor, terms: tf.Tensor, variables: tf.Tensor
    ) -> None:
        """Counts a step, on a replica.

        Args:
          skipped: whether it was skipped.
          failed: whether that was a failure.
          terms: [number of terms] whether each was finite.
          variables: [number of variables] whether the gradient of each was finite.
        """
        one = tf.cast(failed, tf.int32)
        self.skipped.assign_add(tf.cast(skipped, tf.int32))
        streak = (self.streak.read_value() + 1) * one
        self.streak.assign(streak)
        self._longest_streak.assign(tf.maximum(self._longest_streak.read_value(), streak))
        self._steps.assign_add(one)
        self._terms.assign_add(one * tf.cast(~terms, tf.int32))
        self._variables.assign_add(one * tf.cast(~variables, tf.int32))

    def read_and_reset(self) -> Failures:
        """Returns what failed since this was last called (on the host)."""
        failures = Failures(
            steps=int(self._steps.numpy()),
            longest_streak=int(self._longest_streak.numpy()),
            skipped=int(self.skipped.numpy()),
            terms=_counts(self.term_names, self._terms.numpy()),
            variables=_counts(self.variable_names, self._variables.numpy()),
        )
        for counter in (self._longest_streak, self._steps, self._terms, self._variables):
            counter.assign(tf.zeros_like(counter))
        return failures

    def last_step_failed(self) -> bool:
        """Tells whether the last step failed (on the host)."""
        return bool(self.streak.numpy())


def _counter(name: str, *shape: int) -> tf.Variable:
    return tf.Variable(
        tf.zeros(shape, tf.int32),
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _counts(names: list[str], counts: np.ndarray) -> dict[str, int]:
    order = np.argsort(-counts, kind="stable")
    return {names[index]: int(counts[index]) for index in order if counts[index]}


def _first(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclasses.dataclass
class Patience:
    """How many failures a run survives.

    Attributes:
      failures_in_a_row: after so many, the run goes back.
      rollbacks: how often.
      used: how often it has.
    """

    failures_in_a_row: int
    rollbacks: int
    used: int = dataclasses.field(default=0, init=False)

    def must_go_back(
        self, counter: FailureCounter, where: str, target: str, say: Callable[[str], None]
    ) -> bool:
        """Tells people of failed steps, and returns whether the run must go back now.

        Args:
          counter: of the run's failures.
          where: the run is.
          target: what it would go back to.
          say: prints a line.

        Raises:
          NonFiniteError: it has gone back often enough.
        """
        failures = counter.read_and_reset()
        if failures.steps:
            say(
                f"{where}: skipped {failures.steps} of the last steps ({failures.skipped} in "
                f"all): {failures.sentence()}"
            )
        if failures.longest_streak < self.failures_in_a_row:
            return False
        if self.used >= self.rollbacks:
            tries = f" after going back {count_of(self.used, 'time')}" if self.used else ""
            raise NonFiniteError(
                f"{count_of(failures.longest_streak, 'step')} in a row without finite values up to "
                f"{where}{tries}: {failures.sentence()}. No weight was changed by them, and "
                "nothing was saved since. Lower training.optimizer.learning_rate, set "
                "training.optimizer.clip_norm, or look at the data with these terms in mind."
            )
        self.used += 1
        counter.streak.assign(0)
        say(
            f"{where}: {count_of(failures.longest_streak, 'failed step')} in a row, going back to "
            f"{target} ({self.used} of at most {count_of(self.rollbacks, 'time')})"
        )
        return True
