import pytest
from google.protobuf import text_format, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from kmax_tf.config.overrides import merge_override
from kmax_tf.config.textproto import merge_text
from kmax_tf.errors import ConfigError
from kmax_tf.protos import experiment_pb2, model_pb2


def parse(text, message=None, origins=None):
    message = experiment_pb2.Experiment() if message is None else message
    merge_text(
        text, lambda line: f"a.textproto:{line}", message, {} if origins is None else origins
    )
    return message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        'name: "a # no comment"',
        "name: 'single \\' quote'",
        'name: "two" \' parts\'\n  " of three"',
        'name: "\\303\\251\\t\\x41 é"',
        "training { steps: 0x10 }",
        "training: { steps: -3; seed: 4, }",
        "training < optimizer < learning_rate: 1e-3 > >",
        "training { optimizer { learning_rate: .5 clip_norm: 2.f end_learning_rate: 5.E-1 } }",
        "training { optimizer { learning_rate: inf clip_norm: -inf } }",
        "train_data { crop_size: [1, 2] records: [] cache: true on_bad_record: SKIP }",
        "train_data { crop_size: 1 crop_size: 2 cache: 0 crop_size: [3] }",
        "model { resnet { stages: [{ filters: 1 }, < blocks: 2 >] stages { blocks: 3 } } }",
        "model { semantic_head {} resnet: {} }",
        'base: "a.textproto" base: ["b.textproto", "c.textproto"]',
    ],
)
def test_agrees_with_the_parser_of_protobuf(text):
    expected = text_format.Parse(text, experiment_pb2.Experiment())
    assert parse(text) == expected


STAGES = st.builds(
    model_pb2.Stage,
    filters=st.integers(-(2**31), 2**31 - 1),
    block_type=st.sampled_from([model_pb2.AXIAL, model_pb2.BOTTLENECK]),
)


@given(
    name=st.text(),
    rate=st.floats(width=32, allow_nan=False),
    stages=st.lists(STAGES, max_size=3),
    rates=st.lists(st.integers(0, 99), max_size=3),
    flag=st.booleans(),
)
def test_printed_messages_are_read_back(name, rate, stages, rates, flag):
    experiment = experiment_pb2.Experiment(name=name)
    experiment.training.optimizer.learning_rate = rate
    experiment.model.pixel_decoder.stages.extend(stages)
    experiment.model.semantic_decoder.atrous_rates.extend(rates)
    experiment.train_data.cache = flag
    for short in (False, True):
        text = text_format.MessageToString(experiment, use_short_repeated_primitives=short)
        assert parse(text) == experiment


LIMITS = {
    "Int32Value": (-(2**31), 2**31 - 1),
    "Int64Value": (-(2**63), 2**63 - 1),
    "UInt32Value": (0, 2**32 - 1),
    "UInt64Value": (0, 2**64 - 1),
}
FITTING = [(kind, str(value)) for kind, limits in LIMITS.items() for value in limits]
FITTING += [("FloatValue", v) for v in ("3.4028235e+38", "1e-45", "inf", "-inf")]
FITTING += [("DoubleValue", v) for v in ("1.7976931348623157e308", "1e40", "-infinity")]
FITTING += [("BoolValue", "true"), ("StringValue", '"é"'), ("BytesValue", '"\\377\\000a"')]
TOO_LARGE = [(kind, str(limits[0] - 1)) for kind, limits in LIMITS.items()]
TOO_LARGE += [(kind, str(limits[1] + 1)) for kind, limits in LIMITS.items()]
TOO_LARGE += [("FloatValue", v) for v in ("1e39", "-3.5e38", "1e400")]
TOO_LARGE += [("DoubleValue", "1e309")]


@pytest.mark.parametrize(("kind", "value"), FITTING)
def test_every_kind_of_field_takes_what_it_holds(kind, value):
    new = getattr(wrappers_pb2, kind)
    expected = text_format.Parse(f"value: {value}", new())
    assert parse(f"value: {value}", new()) == expected
    overridden = new()
    merge_override(f"value={value}", overridden, {})
    assert overridden == expected


@pytest.mark.parametrize(("kind", "value"), TOO_LARGE)
def test_every_kind_of_field_refuses_what_it_does_not_hold(kind, value):
    with pytest.raises(ConfigError, match="does not fit"):
        parse(f"value: {value}", getattr(wrappers_pb2, kind)())


def test_origins_follow_the_last_who_set_a_field():
    origins = {}
    experiment = parse(
        "training {\n steps: 1\n seed: 2\n}\ntrain_data { crop_size: [1,\n 2] }", None, origins
    )
    merge_text(
        "\ntraining { seed: 3 }\ntrain_data { crop_size: 4 }",
        lambda n: f"b:{n}",
        experiment,
        origins,
    )
    assert origins == {
        "training": "b:2",
        "training.steps": "a.textproto:2",
        "training.seed": "b:2",
        "train_data": "b:3",
        "train_data.crop_size": "b:3",
        "train_data.crop_size[0]": "b:3",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nnmae: 'x'", "2: Experiment has no field 'nmae'; did you mean 'name'?"),
        ("\n\nmodel { x: 1 }", "3: Model has no field 'x'; known: resnet, "),
        (
            "model {\n pixel_decoder {\n  stagse {} } }",
            "3: PixelDecoder has no field 'stagse'; did you mean 'stages'?",
        ),
        ("training { steps: 'x' }", "1: training.steps: expected an integer, found ''x''"),
        ("training { steps: 1.5 }", "1: training.steps: expected an integer, found '1.5'"),
        ("training { steps: 3000000000 }", "1: training.steps: 3000000000 does not fit int32"),
        (
            "train_data { crop_size: [1, 3000000000] }",
            "1: train_data.crop_size[1]: 3000000000 does not fit int32",
        ),
        ("training { steps: 1_0 }", "1: training.steps: expected an integer, found '1_0'"),
        (
            "training { optimizer { learning_rate: fast } }",
            "1: training.optimizer.learning_rate: expected a number, found 'fast'",
        ),
        ("name: word", "1: name: expected UTF-8 text in quotes, found 'word'"),
        ('name: "\\377"', "1: name: expected UTF-8 text in quotes, found '\\377'"),
        ("train_data { cache: yes }", "1: train_data.cache: expected true or false, found 'yes'"),
        (
            "model { resnet { stages { filters: 1 }\n stages { block_type: AXAIL } } }",
            "2: model.resnet.stages[1].block_type: 'AXAIL' is not a BlockType (BOTTLENECK, AXIAL); "
            "did you mean 'AXIAL'?",
        ),
        ("training: 3", "1: training: expected '{' and the fields of Training, found '3'"),
        ("name 'x'", "1: name: expected ':', found ''x''"),
        ("training { steps: 3", "1: expected a field name or '}', found the end"),
        ("training { steps: }", "1: training.steps: expected an integer, found '}'"),
        ("}", "1: expected a field name, found '}'"),
        ("name: 'x'\n@", "2: expected a field name, found '@'"),
        ("name: 'x\n'", "1: name: expected UTF-8 text in quotes, found ''x'"),
        (
            "train_data { crop_size: [1 2] }",
            "1: train_data.crop_size: expected ',' or ']', found '2'",
        ),
        ("name: 'x'\nname: 'y'", "2: name: name was already given in line 1"),
        (
            "model {\n semantic_head {}\n semantic_decoder {} }",
            "3: model.semantic_decoder: one of the fields of 'semantic_branch' was already given",
        ),
    ],
)
def test_errors_name_line_and_remedy(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"a.textproto:{message}")
