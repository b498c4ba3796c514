"""Which form of an operation is taken: its definition, or one that gives the same faster.

A thread's state says so while a graph is made, as replicas are traced in threads that take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Callable, Optional, TypeVar

from kmax_tf.devices import accelerated

Form = TypeVar("Form", bound=Callable[..., Any])


class _State(threading.local):
    """What is asked for.

    Attributes:
      definitions: whether only definitions are taken.
      gradients: whether there will be gradients.
      portable: whether other programs than TensorFlow will run the graph.
    """

    definitions = False
    gradients = False
    portable = False


_state = _State()


@contextlib.contextmanager
def definitions() -> Iterator[None]:
    """Takes the definition of every operation that is called inside: to compare with it."""
    before, _state.definitions = _state.definitions, True
    try:
        yield
    finally:
        _state.definitions = before


@contextlib.contextmanager
def for_gradients(wanted: bool = True) -> Iterator[None]:
    """Takes forms that are made for gradients inside, or none of them.

    Every form has right gradients. But some are only faster with them: without, TensorFlow fuses
    the definition with the operation before it, and an export carries no gradients.
    """
    before, _state.gradients = _state.gradients, wanted
    try:
        yield
    finally:
        _state.gradients = before


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Takes forms that other runtimes know: static shapes, no scattering, no lists of tensors."""
    before, _state.portable = _state.portable, True
    try:
        yield
    finally:
        _state.portable = before


def gradients_wanted() -> bool:
    """Tells whether this is inside of `for_gradients`."""
    return _state.gradients


def choose(
    definition: Form,
    *,
    in_other_runtimes: Optional[Form] = None,
    anywhere: Optional[Form] = None,
    on_cpus: Optional[Form] = None,
    for_gradients_on_cpus: Optional[Form] = None,
) -> Form:
    """Returns the form that is the fastest here.

    Args:
      definition: what the others must equal.
      in_other_runtimes: inside of `portable`, where the definition is no form that these know.
      anywhere: on any machine.
      on_cpus: where there is neither GPU nor TPU.
      for_gradients_on_cpus: there, inside of `for_gradients`.
    """
    if _state.definitions:
        return definition
    if _state.portable and in_other_runtimes is not None:
        return in_other_runtimes
    if anywhere is not None:
        return anywhere
    if _state.portable or accelerated():
        return definition
    if for_gradients_on_cpus is not None and _state.gradients:
        return for_gradients_on_cpus
    return on_cpus or definition
