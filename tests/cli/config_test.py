from google.protobuf import text_format

from kmax_tf.cli import main
from kmax_tf.config import load_experiment
from kmax_tf.protos import experiment_pb2

COCO = "coco/resnet50.textproto"


def test_prints_the_resolved_experiment(capsys):
    assert main.main(["config", COCO, "--set", "name=x", "--set", "training.seed=7"]) == 0
    printed = text_format.Parse(capsys.readouterr().out, experiment_pb2.Experiment())
    assert printed == load_experiment(COCO, ["name=x", "training.seed=7"])
    assert (printed.name, printed.training.seed) == ("x", 7)
