"""Whatever a request holds, it is a call or one sentence; what a reply holds survives."""

from __future__ import annotations

import base64
import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmax_tf.serving.json_forms import Call, format_reply, parse
from kmax_tf.serving.refusals import RefusedError
from tests.serving.fake_model import FakeModel

MODEL = FakeModel()
NAMES = st.sampled_from(["image_bytes", "images", "thing_threshold", "b64", "x"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats()
    | st.text("ab\u00e9", max_size=4)
)
ANYTHING = st.recursive(
    LEAVES | st.builds(lambda text: {"b64": text}, st.text("aA+=", max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["instances", "inputs"]), st.sampled_from(sorted(MODEL.signatures)), ANYTHING
)
def test_anything_is_a_call_or_a_sentence(form, signature, value):
    body = orjson.dumps({"signature_name": signature, form: value})
    call = refused = None
    try:
        call = parse(body, MODEL.signature)
    except RefusedError as error:
        refused = error
    if call is None:
        assert refused.status == 400
        assert len(str(refused)) < 300
        return
    for name, spec in call.signature.inputs.items():
        array = call.inputs[name]
        assert spec.shape.is_compatible_with(array.shape)
        assert array.dtype == (object if spec.dtype == "string" else spec.dtype.as_numpy_dtype)
    assert call.images > 0


@pytest.mark.parametrize("by_image", [False, True])
def test_replies_hold_numbers_texts_and_bytes(by_image):
    signature = MODEL.signature("compact")
    inputs = {"image_bytes": np.array([b"a", b"b"], object)}
    scores = np.array([[0.1, np.float32(1) / 3], [1e-30, 7e20]], np.float32)
    outputs = {
        "scores": scores[:, ::-1],
        "counts": np.array([[b"ab", b""], [b"", b"c"]], object),
        "some_bytes": np.array([b"\xff\0", b""], object),
    }
    answer = json.loads(format_reply(Call(signature, inputs, by_image), outputs))
    if by_image:
        rows = answer["predictions"]
        answer = {"outputs": {name: [row[name] for row in rows] for name in outputs}}
    told = answer["outputs"]
    np.testing.assert_array_equal(np.array(told["scores"], np.float32), outputs["scores"])
    assert told["counts"] == [["ab", ""], ["", "c"]]
    assert [base64.b64decode(x["b64"]) for x in told["some_bytes"]] == [b"\xff\0", b""]
