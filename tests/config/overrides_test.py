import pytest

from kmax_tf.config.overrides import merge_override
from kmax_tf.config.textproto import merge_text
from kmax_tf.errors import ConfigError
from kmax_tf.protos import experiment_pb2

START = """
name: "start"
train_data { crop_size: [1, 2] records: "old" }
model {
  resnet { stem_channels: 8 }
  pixel_decoder { stages { filters: 8 } stages { filters: 16 blocks: 2 } }
  semantic_head { channels: 5 }
}
"""


@pytest.fixture
def experiment():
    message = experiment_pb2.Experiment()
    merge_text(START, lambda line: f"start:{line}", message, {})
    return message


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.steps=3", "3"),
        ("training.steps = 3", "3"),
        ("training.optimizer.learning_rate=5e-1", "0.5"),
        ("train_data.cache=true", "True"),
        ("train_data.cache=1", "True"),
        ("train_data.cache=False", "False"),
        ("train_data.cache=0", "False"),
        ("train_data.on_bad_record=SKIP", "2"),
        ("name=plain words", "plain words"),
        ('name="in quotes"', "in quotes"),
        ("name='in quotes'", "in quotes"),
        ("name=", ""),
        ("name=a=b", "a=b"),
        ('name=half"', 'half"'),
        ("name=back\\slash é", "back\\slash é"),
        ("train_data.crop_size=3,4,5", "[3, 4, 5]"),
        ("train_data.crop_size=[3, 4]", "[3, 4]"),
        ("train_data.crop_size=[]", "[]"),
        ("train_data.crop_size=", "[]"),
        ("train_data.records=a-*.tfrecord, b", "['a-*.tfrecord', 'b']"),
        ("train_data.records=['a,b', c]", "['a,b', 'c']"),
        ("train_data.records=gs://bucket/x", "['gs://bucket/x']"),
        ("model.pixel_decoder.stages[1].filters=32", "32"),
    ],
)
def test_scalars_strings_and_lists(experiment, override, value):
    origins = {}
    merge_override(override, experiment, origins)
    path = override.partition("=")[0].strip()
    target = experiment
    for step in path.split("."):
        name, _, index = step.partition("[")
        target = getattr(target, name)
        target = target[int(index[:-1])] if index else target
    assert str(target) == value
    assert origins[path] == f"--set {path}"


def test_messages_merge_and_lists_of_messages_replace(experiment):
    merge_override("model.resnet={activation: GELU}", experiment, {})
    assert experiment.model.resnet.stem_channels == 8
    assert experiment.model.resnet.activation == 2
    merge_override("model.pixel_decoder.stages[1]={filters: 9}", experiment, {})
    assert [(s.filters, s.blocks) for s in experiment.model.pixel_decoder.stages] == [
        (8, 0),
        (9, 2),
    ]
    merge_override("model.pixel_decoder.stages={filters: 3}, {filters: 4}", experiment, {})
    assert [s.filters for s in experiment.model.pixel_decoder.stages] == [3, 4]


@pytest.mark.parametrize(
    "override", ["model.semantic_decoder.channels=7", "model.semantic_decoder={channels: 7}"]
)
def test_a_oneof_switches(experiment, override):
    merge_override(override, experiment, {})
    assert experiment.model.WhichOneof("semantic_branch") == "semantic_decoder"
    assert experiment.model.semantic_decoder.channels == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "--set training.steps: expected path.to.field=value"),
        ("=3", "--set =3: expected path.to.field=value"),
        ("trainings.steps=3", "--set trainings.steps: Experiment has no field 'trainings'; "),
        ("training..steps=3", "'' is not a field name"),
        ("training.steps=many", "--set training.steps: expected an integer, found 'many'"),
        ("training=3", "--set training: expected '{' and the fields of Training, found '3'"),
        ("name.first=x", "--set name.first: name is not a message; it has no fields"),
        ("train_data.crop_size[0]=3", "crop_size is not a message; give the whole list"),
        ("model[0].resnet={}", "model is not a list; leave out [0]"),
        ("model.pixel_decoder.stages[2].filters=3", "stages is a list of 2; name one"),
        ("model.pixel_decoder.stages.filters=3", "stages is a list of 2; name one"),
        ("model.pixel_decoder.stages[0]=3", "stages[0]: expected {fields of Stage}"),
        ("model.resnet={root: 3}", "--set model.resnet: ResNet has no field 'root'"),
    ],
)
def test_errors_name_the_override(experiment, override, message):
    with pytest.raises(ConfigError) as caught:
        merge_override(override, experiment, {})
    assert str(caught.value).startswith("--set")
    assert message in str(caught.value)
