"""Exports in other hands: TensorFlow Serving's messages and loader; what `kmax export` refuses."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from kmax_tf.config import load_experiment
from kmax_tf.errors import UserError
from kmax_tf.export.predictor import load_predictor
from kmax_tf.export.serving_model import SIGNATURES
from kmax_tf.export.trial import trial_images
from kmax_tf.export.warmup import WARMUP_FILE
from kmax_tf.files.images import read_image
from tests.end_to_end.conftest import TinyRun, kmax


@pytest.fixture(scope="module")
def served(tiny_run: TinyRun) -> dict[str, tf.types.experimental.Callable]:
    return tf.saved_model.load(str(tiny_run.export / "1")).signatures


def test_requests_to_warm_up_are_tensorflow_servings_and_reach_every_signature(
    tiny_run: TinyRun, served: dict[str, tf.types.experimental.Callable]
) -> None:
    records = tf.data.TFRecordDataset(str(tiny_run.export / "1" / WARMUP_FILE))
    asked = set()
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "kmax"
        asked.add(request.model_spec.signature_name)
        response = answer(served, request)
        assert response.outputs
        if request.model_spec.signature_name == "compact":
            # In the bytes that go over the network: gRPC takes 4 MB by default.
            assert len(response.SerializeToString()) < 200_000
    assert asked == set(SIGNATURES)


def answer(
    served: dict[str, tf.types.experimental.Callable], request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """Does what TensorFlow Serving does with a request."""
    inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
    outputs = served[request.model_spec.signature_name](**inputs)
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return response


def test_what_servers_read_lies_beside_the_versions(tiny_run: TinyRun) -> None:
    models = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((tiny_run.export / "models.config").read_text(), models)
    (config,) = models.model_config_list.config
    assert (config.name, config.base_path) == ("kmax", "/models/kmax")
    assert "max_batch_size" in (tiny_run.export / "batching_parameters.txt").read_text()
    triton = (tiny_run.export / "config.pbtxt").read_text()
    assert 'input { name: "image_bytes" data_type: TYPE_STRING dims: [1] reshape' in triton
    assert 'output { name: "boxes" data_type: TYPE_INT32 dims: [-1, 4] }' in triton


def test_the_loader_of_tensorflow_serving_gives_the_same_without_python(
    tiny_run: TinyRun, served: dict[str, tf.types.experimental.Callable], tmp_path: Path
) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.fail("this test needs a C compiler (Debian: apt install gcc)")
    library = Path(tf.sysconfig.get_lib())
    ending = sysconfig.get_config_var("SHLIB_SUFFIX") if sys.platform != "darwin" else ".dylib"
    libraries = [
        next(library.glob(f"libtensorflow_{name}*{ending}*")) for name in ("cc", "framework")
    ]
    client = tmp_path / "client"
    source = Path(__file__).with_name("saved_model_client.c")
    words = [f"-I{tf.sysconfig.get_include()}", *libraries, f"-Wl,-rpath,{library}"]
    subprocess.run([compiler, source, "-o", client, *words], check=True)

    export, image = tiny_run.export / "1", tiny_run.images[0]
    model = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
    signature = model.meta_graphs[0].signature_def["compact"]
    names = [
        signature.inputs["image_bytes"].name,
        signature.outputs["panoptic_png_bytes"].name,
    ]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2"}
    if "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        environment["TF_ENABLE_ONEDNN_OPTS"] = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    command = [client, export, *names, tmp_path / "reply.png", image]
    subprocess.run(command, check=True, env=environment)
    expected = served["compact"](image_bytes=tf.constant([image.read_bytes()]))
    assert (tmp_path / "reply.png").read_bytes() == expected["panoptic_png_bytes"][0].numpy()

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(image.read_bytes()[:300])
    done = subprocess.run(
        [*command[:-1], image, broken], check=False, env=environment, capture_output=True
    )
    assert done.returncode == 1
    assert b"image 1 of image_bytes: it is damaged or ends early" in done.stderr


def test_an_export_that_fails_its_trial_leaves_nothing_behind(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["export", "--checkpoint", tiny_run.folder, "--output", tmp_path / "export"]
    words += ["--signatures=logits"]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    experiment = load_experiment(tiny_run.folder / "experiment.textproto")
    with pytest.raises(UserError, match=r"cannot try the export with .*bad.jpg: it is no image"):
        trial_images(experiment, [bad])
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    done = kmax(*words, check=False)
    assert done.returncode == 2
    assert "the export doesn't work in a process of its own: exit status 1; not" in done.stderr
    assert list((tmp_path / "export").iterdir()) == []


def test_a_full_disk_is_one_error_and_leaves_nothing_behind(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ["export", "--checkpoint", tiny_run.folder, "--output", tmp_path / "export"]
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a disk that has room for that much: the weights take more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        done = kmax(*words, "--signatures=logits", "--no-trial", check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert done.returncode == 2
    assert f"cannot write the export {tmp_path / 'export' / '1'}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "export").iterdir()) == []


def test_half_written_versions_are_told(tiny_run: TinyRun, tmp_path: Path) -> None:
    whole, folder = tiny_run.export / "1", tmp_path / "export"
    shutil.copytree(whole, folder / "2")
    (folder / "3").mkdir()  # as yet without saved_model.pb: the newest whole one is taken
    shutil.rmtree(folder / "2" / "variables")
    with pytest.raises(UserError, match=r"cannot load the SavedModel .*export/2: .*export"):
        load_predictor(folder)
    (folder / "2" / "saved_model.pb").write_bytes((whole / "saved_model.pb").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot load the SavedModel"):
        load_predictor(folder)
    (folder / "2" / "assets.extra" / "labels.json").unlink()
    with pytest.raises(UserError, match="is not a SavedModel of `kmax export`, or is damaged"):
        load_predictor(folder)
    for missing in (folder / "3", folder / "4"):
        with pytest.raises(UserError, match="holds no model"):
            load_predictor(missing)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--precision=bfloat16"], ["--precision=float16"], ["--xla", "--size=97,65"]]
)
def test_other_precisions_and_compiled_networks_say_what_they_lose(
    options: list[str], tiny_run: TinyRun, tmp_path: Path
) -> None:
    words = ["export", "--checkpoint", tiny_run.folder, "--output", tmp_path]
    printed = kmax(*words, *options, "--signatures=compact,logits").stdout
    assert "against float32, " in printed
    assert " of 100: " in printed
    logits = tf.saved_model.load(str(tmp_path / "1")).signatures["logits"]
    fixed = "--xla" in options
    size = (97, 65) if fixed else (40, 70)
    assert logits.structured_input_signature[1]["images"].shape[1:] == (
        (97, 65, 3) if fixed else (None, None, 3)
    )
    outputs = logits(images=tf.constant(resized(read_image(tiny_run.images[0]), size)[np.newaxis]))
    assert outputs["mask_logits"].dtype == tf.float32
    assert outputs["mask_logits"].shape == [1, *((25, 17) if fixed else (17, 17)), 16]


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return tf.cast(tf.image.resize(image, size), tf.uint8).numpy()
