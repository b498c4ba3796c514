"""What a server answers, around a model: limits, forms, sentences, counts."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import socket
import time

import pytest

from kmax_tf.serving.limits import Limits
from tests.serving.fake_model import FakeModel, png, served

LIMITS = {
    **{"body": 20_000, "pixels": 5000, "images": 4, "values": 2000, "seconds": 60.0},
    **{"requests": 6, "queue": 3, "batch": 3},
}
PREDICT = "/v1/models/kmax:predict"


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


@pytest.fixture(scope="module")
def server():
    model = FakeModel()
    with served(model, **LIMITS) as client:
        client.model = model
        yield client


def test_images_are_answered_in_both_forms(server):
    data = png()
    asked = {"image_bytes": [b64(data), b64(data)]}
    answer = server.predict("compact", asked)
    expected = {"lengths": [len(data)] * 2, "png_bytes": [b64(data[:3])] * 2}
    assert (answer.status, answer.content) == (200, {"outputs": expected})
    rows = [{"lengths": len(data), "png_bytes": b64(data[:3])}] * 2
    for instances in ([b64(data)] * 2, [{"image_bytes": b64(data)}] * 2):
        answer = server.predict("compact", instances, "instances")
        assert (answer.status, answer.content) == (200, {"predictions": rows})
    answer = server.ask(PREDICT, json.dumps({"instances": [[[[1, 2, 3]]] * 3]}))
    assert answer.content == {"predictions": [3]}
    for threshold in (0.5, [0.5, 0.75]):
        answer = server.predict("with_thresholds", {**asked, "thing_threshold": threshold})
        assert answer.content == {"outputs": [len(data)] * 2}


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "is not JSON"),
        (b"\xff\xfe{", 400, "is not JSON"),
        (b"[" * 9000, 400, "is not JSON"),
        (b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "images"),
        (b"[]", 400, 'either "instances"'),
        (b'{"instances": [], "inputs": []}', 400, 'either "instances"'),
        (b'{"instances": []}', 400, "images has the shape [0]: no image"),
        (b'{"instances": 7}', 400, "is to be a list"),
        (b'{"inputs": {"pictures": []}}', 400, "takes these inputs, and no others: images"),
        (b'{"inputs": [[[[1, 2, 300]]]]}', 400, "whole numbers from 0 to 255"),
        (b'{"inputs": [[[[1, 2, 0.5]]]]}', 400, "whole numbers from 0 to 255"),
        (b'{"inputs": [[[[1, 2, "a"]]]]}', 400, "numbers of the type uint8"),
        (b'{"inputs": [[[[1, 2, null]]]]}', 400, "numbers of the type uint8"),
        (b'{"inputs": [[[[1, 2]]]]}', 400, "the shape [B, H, W, 3], not [1, 1, 1, 2]"),
        (b'{"inputs": [[[1, 2, 3]]]}', 400, "the shape [B, H, W, 3], not [1, 1, 3]"),
        (b'{"inputs": [[[[1, 2, 3]], [[1]]]]}', 400, "not all of the same length"),
        (b'{"inputs": [[], []]}', 400, "images"),
        (b'{"signature_name": 3, "inputs": []}', 400, "signature_name is to be a text"),
        (b'{"signature_name": "x", "inputs": []}', 404, "no signature 'x'; it has: compact, im"),
        (
            b'{"signature_name": "compact", "inputs": []}',
            400,
            "image_bytes has the shape [0]: no image",
        ),
        (b'{"signature_name": "compact", "inputs": [1]}', 400, 'to be {"b64": "..."}'),
        (b'{"signature_name": "compact", "inputs": [{"b64": "a"}]}', 400, "b64 is not base64"),
        (b'{"signature_name": "compact", "inputs": {"b64": "aaaa"}}', 400, "shape [B]"),
        (b'{"signature_name": "compact", "inputs": [""]}', 422, "image 0 of image_bytes is empty"),
        (b'{"signature_name": "logits", "instances": [1]}', 400, 'ask with "inputs" in place'),
        (
            b'{"signature_name": "with_thresholds", "inputs": {"image_bytes": ["a"], '
            b'"thing_threshold": [1, 2]}}',
            *(400, "not of"),
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_request_is_one_sentence(server, body, status, sentence):
    answer = server.ask(PREDICT, body)
    assert answer.status == status
    assert list(answer.content) == ["error"]
    assert sentence in answer.content["error"]
    assert len(answer.content["error"]) < 300


def test_images_that_cannot_be_read_are_named(server):
    many = png((100, 60))
    frames = png((40, 40), "L", format="GIF", save_all=True, append_images=_frames(40, 4))
    cases = {
        "is of an unknown format": b"no image at all, \x00\x01",
        "cannot decode image 0 of image_bytes": png()[:40],
        "HEIC photo": b"\0\0\0\x18ftypheic\0\0\0\0",
        "100 x 60 pixels; at most 5000": many,
        "pixels that are read at most": _declaring(60000, 60000),
        "an animation of 5 frames": frames,
    }
    for sentence, data in cases.items():
        answer = server.predict("compact", [b64(data)])
        assert answer.status == 422, sentence
        assert "image 0 of image_bytes" in answer.content["error"]
        if sentence != "is of an unknown format":
            assert sentence in answer.content["error"]
    answer = server.predict("compact", [b64(png()), b64(b"GIF")])
    assert "image 1 of image_bytes" in answer.content["error"]
    assert "at most 4 are" in server.predict("compact", [b64(png())] * 5).content["error"]
    # Two strips whose maps are padded to a square.
    strips = [b64(png((60, 2))), b64(png((2, 60)))]
    assert server.predict("compact", strips).status == 200
    assert "padded" in server.predict("image_bytes", strips).content["error"]


def _frames(side, count):
    from PIL import Image

    return [Image.new("L", (side, side), 40 * number + 40) for number in range(count)]


def _declaring(width, height):
    """A PNG of a few bytes that declares a size."""
    import struct
    import zlib

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_bodies_have_a_limit(server):
    for length in (LIMITS["body"] + 1, 10**6):
        answer = server.ask(PREDICT, b"x" * length)
        assert answer.status == 413
        assert "more than 20000 bytes" in answer.content["error"]
        assert answer.headers["connection"] == "close"
    chunked = (b"x" * 9000 for _ in range(4))
    assert server.ask(PREDICT, chunked, "POST").status == 413
    compressed = server.ask(PREDICT, b"{}", headers={"Content-Encoding": "gzip"})
    assert compressed.status == 415


def test_replies_have_a_limit(server):
    answer = server.predict("image_bytes", [b64(png())])
    assert answer.status == 422
    assert "more than 2000 numbers" in answer.content["error"]
    assert "ask for the signature compact" in answer.content["error"]


def test_no_secret_leaves_when_the_model_fails(server):
    answer = server.predict("logits", [[[[1, 2, 3]]]])
    assert answer.status == 500
    assert "secret" not in str(answer.content)
    assert "Traceback" not in str(answer.content)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/models/other:predict", "POST", 404),
        ("/v1/models/other", "GET", 404),
        ("/v1/models/kmax:classify", "POST", 404),
        ("/v1/models/kmax:predict", "GET", 405),
        (f"/v1/models/kmax/versions/{'9' * 5000}", "GET", 404),
        (f"/v1/models/kmax/versions/{'9' * 5000}:predict", "POST", 404),
        ("/etc/passwd", "GET", 404),
        ("/page/../../cli/main.py", "GET", 404),
        ("/page/%2e%2e%2fapp.py", "GET", 404),
    ],
)
def test_other_paths_are_a_sentence(server, path, method, status):
    answer = server.ask(path, b"{}" if method == "POST" else None, method)
    assert answer.status == status
    assert 20 < len(answer.content["error"]) < 200


def test_the_page_names_no_other_host(server):
    page = server.ask("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for file in ("page.css", "page.js", "api.js", "png.js", "drawing.js", "results.js"):
        answer = server.ask(f"/page/{file}")
        assert answer.status == 200
        assert b"http" not in answer.content.replace(b"kmax", b"")
    assert b"http" not in page.content.replace(b"http-equiv", b"")
    described = server.ask("/page/model.json").content
    assert described["thresholds"] == {"thing_threshold": 0.7}


def test_waiting_requests_go_together_and_too_many_are_refused(server):
    model = server.model
    data = [b64(png())]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        model.go.clear()
        model.called.clear()
        first = pool.submit(server.predict, "compact", data)
        assert model.called.wait(10)
        model.batches.clear()
        waiting = [pool.submit(server.predict, "compact", data) for _ in range(3)]
        _wait_for(server, "kmax_queue_images 3.0")
        full = server.predict("compact", data)
        assert full.status == 503
        assert "3 images wait" in full.content["error"]
        assert full.headers["retry-after"]
        busy = [pool.submit(server.predict, "serving_default", []) for _ in range(2)]
        assert {future.result().status for future in busy} == {400}
        model.go.set()
        assert {future.result().status for future in (first, *waiting)} == {200}
    assert model.batches == [1, 3]
    metrics = server.ask("/metrics").content.decode()
    assert 'kmax_requests_total{signature="compact",status="503"} 1.0' in metrics
    assert "kmax_queue_images 0.0" in metrics
    assert "process_resident_memory_bytes" in metrics


def test_a_bad_image_spoils_no_other_request(server):
    model, spoilt = server.model, png((7, 7))
    model.bad = spoilt
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        model.go.clear()
        model.called.clear()
        first = pool.submit(server.predict, "compact", [b64(png())])
        assert model.called.wait(10)
        waiting = [pool.submit(server.predict, "compact", [b64(png())])]
        _wait_for(server, "kmax_queue_images 1.0")
        waiting.append(pool.submit(server.predict, "compact", [b64(spoilt)]))
        _wait_for(server, "kmax_queue_images 2.0")
        model.batches.clear()
        model.go.set()
        assert [future.result().status for future in (first, *waiting)] == [200, 200, 422]
    assert waiting[1].result().content == {"error": "image 0 is bad"}
    assert model.batches == [1, 2, 1, 1]


def _wait_for(client, line):
    for _ in range(3000):
        if line in client.ask("/metrics").content.decode():
            return
        time.sleep(0.02)
    raise AssertionError(line)


def test_requests_under_way_have_a_limit():
    model = FakeModel()
    with served(model, requests=2) as client:
        model.go.clear()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(client.predict, "compact", [b64(png())]) for _ in range(2)]
            _wait_for(client, "kmax_requests_under_way 2.0")
            refused = client.predict("compact", [b64(png())])
            model.go.set()
            assert [future.result().status for future in slow] == [200, 200]
    assert refused.status == 429
    assert "2 requests are under way" in refused.content["error"]
    assert refused.headers["retry-after"]


def test_requests_have_a_time():
    model = FakeModel()
    with served(model, seconds=0.5) as client:
        model.go.clear()
        late = client.predict("compact", [b64(png())])
        assert late.status == 504
        assert "no answer within 0.5 seconds" in late.content["error"]
        # Who sends half a request, and nothing more.
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{"
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as half:
            half.sendall(head.encode())
            assert half.recv(1000).startswith(b"HTTP/1.1 408")
        model.go.set()


def test_what_is_under_way_is_answered_before_the_end():
    model = FakeModel()
    model.go.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with served(model) as client:
            last = pool.submit(client.predict, "compact", [b64(png())])
            assert model.called.wait(10)
            pool_of_one = concurrent.futures.ThreadPoolExecutor(1)
            pool_of_one.submit(lambda: (time.sleep(0.3), model.go.set()))
        assert last.result().status == 200
        pool_of_one.shutdown()
    with pytest.raises(ConnectionRefusedError):
        client.ask("/healthz")


def test_every_limit_is_above_zero():
    assert min(vars(Limits()).values()) > 0
