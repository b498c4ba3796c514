"""A server, `kmax serve`, against its model alone, called in this process in the same run.

One JSON line a case:
  start: seconds from the start of the server's process to its first answer.
  concurrency: so many clients, each of which asks again once it is answered. Percentiles of the
    time of a request, and images/s; `ratio` is the median over that of the model alone,
    `throughput_share` the images/s over the model's, both in turns with it.
  reply: bytes of the JSON that each signature replies with to one image.
  memory: of the server's process after so many requests to all signatures, every other one bad.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import http.client
import io
import itertools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

import numpy as np
import tensorflow as tf
from measuring import print_line
from PIL import Image

from kmax_tf.devices import onednn_in_use
from kmax_tf.export.version_folder import find_export
from kmax_tf.processor import ONEDNN

CASES = ("concurrency", "reply", "memory")
CONCURRENCY = (1, 4, 16)
SIZES = ((480, 640), (1080, 1920))  # of replies
MIXED_SIZES = ((48, 64), (120, 90), (97, 97), (200, 150))


class Server:
    """The server in a process of its own."""

    def __init__(self, model: str):
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kmax_tf.cli.main", "serve", f"--model={model}", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, ONEDNN: str(int(onednn_in_use()))},  # as in this process
        )
        self.port = 0

    def first_answer(self, signature: str, image: bytes) -> None:
        """Waits for it to listen and asks, and prints how long both took."""
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        if not words:
            raise SystemExit("the server doesn't start: try kmax serve with the same --model")
        self.port = urlsplit(words[-1]).port or 0
        listening = time.perf_counter() - self.start
        status, _ = Client(self).predict(signature, image)
        assert status == 200, status
        print_line(
            case="start",
            seconds_to_listen=round(listening, 2),
            seconds_to_first_answer=round(time.perf_counter() - self.start, 2),
        )

    def megabytes(self) -> float:
        """Returns its resident memory."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmRSS:"))
        return int(kilobytes) / 1024

    def stop(self) -> None:
        """Has it drain and end."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


class Client:
    """Asks over a connection that stays open."""

    def __init__(self, server: Server):
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def ask(self, body: bytes) -> tuple[int, int]:
        """Returns status and bytes of the answer to a body."""
        self._connection.request("POST", "/v1/models/kmax:predict", body)
        response = self._connection.getresponse()
        return response.status, len(response.read())

    def predict(self, signature: str, image: bytes) -> tuple[int, int]:
        """Returns status and bytes of the answer to an image."""
        return self.ask(body_of(signature, image))


def body_of(signature: str, image: bytes) -> bytes:
    """Returns a request for one image."""
    inputs = {"image_bytes": [{"b64": base64.b64encode(image).decode()}], **THRESHOLDS[signature]}
    return json.dumps({"signature_name": signature, "inputs": inputs}).encode()


THRESHOLDS: dict[str, dict[str, float]] = {}


def jpeg(size: tuple[int, int], seed: int = 0) -> bytes:
    """Returns a JPEG of a smooth picture with some noise, [height, width]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
    noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    """Measures and prints."""
    args = arguments()
    folder = find_export(pathlib.Path(args.model))
    if folder is None:
        raise SystemExit(f"{args.model} holds no export; write one with kmax export")
    image = pathlib.Path(args.image).read_bytes() if args.image else jpeg(SIZES[0])
    signatures = tf.saved_model.load(str(folder)).signatures
    labels = json.loads((folder / "assets.extra" / "labels.json").read_text("utf-8"))
    encoded = [name for name, f in signatures.items() if "image_bytes" in inputs_of(f)]
    for name in encoded:
        THRESHOLDS[name] = labels["thresholds"] if name == "with_thresholds" else {}
    # Or the server would outlive this process.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    server = Server(args.model)
    try:
        server.first_answer(args.signature, image)
        for name in encoded if args.cases else ():  # each first call is slow
            Client(server).predict(name, image)
        if "concurrency" in args.cases:
            latency(args, server, signatures[args.signature], image)
        if "reply" in args.cases:
            replies(server, encoded)
        if "memory" in args.cases:
            memory(args, server, encoded)
    finally:
        server.stop()


def inputs_of(signature: Any) -> dict[str, tf.TensorSpec]:
    """Returns what a signature takes."""
    return signature.structured_input_signature[1]


def latency(args: argparse.Namespace, server: Server, signature: Any, image: bytes) -> None:
    """Times requests and calls of the model, in turns."""
    tensor = tf.constant([image])
    numbers = {name: tf.constant(x) for name, x in THRESHOLDS[args.signature].items()}

    def call() -> None:
        for value in signature(image_bytes=tensor, **numbers).values():
            value.numpy()

    body = body_of(args.signature, image)
    call()
    rounds: dict[int, list[Round]] = {clients: [] for clients in CONCURRENCY}
    for _ in range(args.rounds):
        for clients, found in rounds.items():
            alone = [timed(call) for _ in range(args.requests)]
            start = time.perf_counter()
            seconds = ask_at_once(server, body, clients, args.requests)
            found.append(Round(seconds, len(seconds) / (time.perf_counter() - start), alone))
    for clients, found in rounds.items():
        every = sorted(second for one in found for second in one.seconds)
        ratios = [statistics.median(one.seconds) / statistics.median(one.alone) for one in found]
        shares = [one.rate * statistics.mean(one.alone) for one in found]
        print_line(
            case="concurrency",
            clients=clients,
            signature=args.signature,
            requests=len(every),
            **{
                f"p{percent}_ms": round(1e3 * every[(len(every) - 1) * percent // 100], 1)
                for percent in (50, 95, 99)
            },
            images_per_s=round(statistics.median(one.rate for one in found), 2),
            ratio=round(statistics.median(ratios), 3),
            throughput_share=round(statistics.median(shares), 3),
        )


class Round(NamedTuple):
    """Requests of so many clients, and before them calls of the model.

    Attributes:
      seconds: of each request.
      rate: images a second.
      alone: seconds of each call.
    """

    seconds: list[float]
    rate: float
    alone: list[float]


def timed(call: Callable[[], None]) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ask_at_once(server: Server, body: bytes, clients: int, requests: int) -> list[float]:
    """Returns the seconds of each of some requests by so many clients."""
    remaining = iter(range(requests))

    def ask() -> list[float]:
        client, seconds = Client(server), []
        for _ in remaining:  # a request is one client's
            start = time.perf_counter()
            status, _ = client.ask(body)
            assert status == 200, status
            seconds.append(time.perf_counter() - start)
        return seconds

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return [
            second
            for part in [pool.submit(ask) for _ in range(clients)]
            for second in part.result()
        ]


def replies(server: Server, signatures: list[str]) -> None:
    """Prints the bytes of replies."""
    for height, width in SIZES:
        image = jpeg((height, width))
        told = {name: Client(server).predict(name, image)[1] for name in signatures}
        print_line(case="reply", height=height, width=width, bytes=told)


def memory(args: argparse.Namespace, server: Server, signatures: list[str]) -> None:
    """Prints the server's memory while it answers mixed requests."""
    bodies = mixed(signatures)
    steps, statuses = [round(server.megabytes())], {}
    for _ in range(0, args.mixed, 100):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [
                pool.submit(lambda b: Client(server).ask(b)[0], next(bodies)) for _ in range(100)
            ]
        for answer in answers:
            status = answer.result()
            statuses[status] = statuses.get(status, 0) + 1
        steps.append(round(server.megabytes()))
    half = steps[len(steps) // 2]
    print_line(
        case="memory",
        requests=args.mixed,
        statuses=statuses,
        megabytes=steps,
        growth_of_second_half=round(steps[-1] / half - 1, 3),
    )


def mixed(signatures: list[str]) -> Iterator[bytes]:
    """Yields bodies without end: a good one, a bad one, and so on."""
    images = [jpeg(size, seed) for seed, size in enumerate(MIXED_SIZES)]
    inks = io.BytesIO()
    Image.new("CMYK", (64, 48)).save(inks, "JPEG")
    bomb = io.BytesIO()
    Image.new("1", (16000, 16000)).save(bomb, "PNG")  # a file of few bytes
    spoilt = [images[0][:500], b"", b"no image " * 9, inks.getvalue(), bomb.getvalue()]
    bad = itertools.cycle(
        [
            *(body_of(signatures[0], data) for data in spoilt),
            b'{"instances": ' + b"[" * 5000,
            b'{"instances": [[[[1, 2, 300]]]]}',
            b'{"instances": []}',
            b"\xff" * 100_000,
        ]
    )
    good = itertools.cycle(itertools.product(images, signatures))
    while True:
        image, name = next(good)
        yield body_of(name, image)
        yield next(bad)


def arguments(words: Optional[list[str]] = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="folder that kmax export wrote")
    parser.add_argument("--image", help="that is asked for; by default one of 640 x 480 is made")
    parser.add_argument("--signature", default="compact")
    parser.add_argument("--cases", nargs="*", default=CASES, choices=CASES, help="beside the start")
    parser.add_argument("--requests", type=int, default=48, help="of each case and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mixed", type=int, default=1000, help="requests while memory is watched")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
