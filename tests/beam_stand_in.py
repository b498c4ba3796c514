"""A stand-in for Apache Beam, which moves versions of what TensorFlow needs and so isn't installed.

It has the names of Beam that are used, and pickles what goes from stage to stage, as a distributed
runner does.
"""

from __future__ import annotations

import pickle
import sys
import types
from typing import Generic, TypeVar

Example, Prediction, Model = TypeVar("Example"), TypeVar("Prediction"), TypeVar("Model")


class Stage:
    def __init__(self, apply):
        self.apply = apply

    def __rrshift__(self, name):
        return self


class Pipeline:
    """Runs each stage as it is added."""

    flags = ()

    def __init__(self, options, elements=()):
        Pipeline.flags = options
        self.elements = elements

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __or__(self, stage):
        elements = [pickle.loads(pickle.dumps(element)) for element in self.elements]
        return Pipeline(Pipeline.flags, stage.apply(elements))


class ModelHandler(Generic[Example, Prediction, Model]):
    """Has a model predict batches."""


def mapped(function):
    return Stage(lambda elements: [pickle.loads(pickle.dumps(function))(e) for e in elements])


def run_inference(handler):
    """Loads the model of a handler once, and gives it batches as large as it takes."""

    def apply(elements):
        worker = pickle.loads(pickle.dumps(handler))
        model = worker.load_model()
        most = worker.batch_elements_kwargs()["max_batch_size"]
        batches = [elements[first : first + most] for first in range(0, len(elements), most)]
        return [result for batch in batches for result in worker.run_inference(batch, model, {})]

    return Stage(apply)


def install(monkeypatch):
    """Puts the stand-in where `import apache_beam` finds it."""
    contents = {
        "apache_beam": {
            "Pipeline": Pipeline,
            "Create": lambda values: Stage(lambda _: values),
            "Reshuffle": lambda: Stage(lambda elements: elements[::-1]),
            "Map": mapped,
        },
        "apache_beam.options": {},
        "apache_beam.options.pipeline_options": {"PipelineOptions": list},
        "apache_beam.ml": {},
        "apache_beam.ml.inference": {},
        "apache_beam.ml.inference.base": {
            "ModelHandler": ModelHandler,
            "RunInference": run_inference,
        },
    }
    for name, names in contents.items():
        module = types.ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
