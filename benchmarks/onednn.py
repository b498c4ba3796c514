"""Another script with oneDNN and without it, in turns, on the machine at hand.

    python benchmarks/onednn.py inference.py --cases model
    python benchmarks/onednn.py first_step.py --config coco/resnet50.textproto --size 641 --batch 1

A process for each turn and setting, as TensorFlow chooses once a process. One JSON line a case of
the script and setting, of the medians of its turns; `ratio` is the time over that without oneDNN.
The first line says what the CPU can do, and whether TensorFlow uses oneDNN on it by itself.
"""

from __future__ import annotations

import argparse
import os
import pathlib

from measuring import lines_of, parser_of, print_line, ratio, summary

from kmax_tf.devices import onednn_in_use
from kmax_tf.processor import ONEDNN, cpu_features

SETTINGS = {"on": "1", "off": "0"}


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a script here and its options")
    args = parser.parse_args()
    print_line(
        cpu_features=sorted(cpu_features()),
        onednn=onednn_in_use(),
        **{ONEDNN: os.environ.get(ONEDNN)},
    )
    script, *words = args.command
    command = [str(pathlib.Path(__file__).parent / script), *words]
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in SETTINGS}
    for _ in range(args.turns):
        for name, value in SETTINGS.items():
            for line in lines_of(command, **{ONEDNN: value}):
                if "median_ms" in line:
                    of_case = seconds[name].setdefault(line["case"], [])
                    of_case.append(line["median_ms"] / 1e3)
    for case, without in seconds["off"].items():
        for name, taken in seconds.items():
            print_line(
                case=case,
                onednn=name,
                **summary(taken[case]),
                ratio=ratio(taken[case], without),
            )


if __name__ == "__main__":
    main()
