"""Option classes have the names of the protos' fields, and no defaults of their own."""

import dataclasses
import inspect
import pathlib
import re

import pytest

import kmax_tf
from kmax_tf.config import Experiment, options_of
from kmax_tf.losses.builder import TERMS
from tests.options import OPTION_CLASSES, class_of, message_at


@pytest.mark.parametrize("name", OPTION_CLASSES)
def test_no_default_hides_that_of_the_protos(name):
    """That all arguments are there is told when experiments are built."""
    fields = (message_at(path).DESCRIPTOR.fields_by_name for path in OPTION_CLASSES[name])
    known = {field for of_message in fields for field in of_message}
    _, *arguments = inspect.signature(class_of(name).__init__).parameters.values()
    with_default = {a.name for a in arguments if a.default is not a.empty}
    assert not known & with_default


def test_all_classes_that_are_filled_are_looked_at():
    package = pathlib.Path(kmax_tf.__file__).parent
    sources = [path.read_text("utf-8") for path in package.glob("*/**/*.py")]
    filled = {kind for text in sources for kind in re.findall(r"options_of\(\s*([A-Z]\w+)", text)}
    filled |= {term.__name__ for terms in TERMS.values() for term in terms}
    assert filled == {name.rpartition(".")[2] for name in OPTION_CLASSES}


@dataclasses.dataclass(frozen=True)
class Options:
    batch_size: int
    crop_size: tuple
    on_bad_record: str
    seed: int


def test_fields_come_by_name_from_the_first_message_that_has_them():
    experiment = Experiment()
    experiment.train_data.crop_size[:] = [65, 33]
    experiment.training.seed = 7
    data, training = experiment.train_data, experiment.training
    assert options_of(Options, data, training) == Options(1, (65, 33), "STOP", 7)
    assert options_of(Options, data, training, batch_size=4).batch_size == 4
    with pytest.raises(TypeError, match="Data has no field 'seed'; give it as an argument"):
        options_of(Options, data)
    with pytest.raises(TypeError, match="steps"):
        options_of(Options, data, training, steps=3)
