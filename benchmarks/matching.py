"""Matching of segments to cluster centers: on the host, in the graph, compiled, against SciPy.

One JSON line a case: `scipy` is linear_sum_assignment alone, image after image, from arrays in
memory; the others are the functions that the loss calls. Segments beyond the given count are
padding, up to 128. `ratio` is the time over that of `scipy`, measured in turns.

Similarities are as in training: `--kind trained` has one good center a segment, `untrained` is all
noise around the same small value, which takes the longest paths.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from measuring import finished, parser_of, print_line, ratio, summary, time_in_turns
from scipy.optimize import linear_sum_assignment

from kmax_tf.losses.matching import match_in_graph, match_on_host


def main() -> None:
    """Measures and prints."""
    parser = parser_of(__doc__, threads=1, repeats=9)
    parser.add_argument("--centers", type=int, default=128)
    parser.add_argument("--segments", type=int, nargs="+", default=[5, 20, 60, 128])
    parser.add_argument("--padded", type=int, default=128, help="segments with padding")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--kind", nargs="+", default=["trained", "untrained"])
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    for batch in args.batch:
        matchers = {
            "host": tf.function(match_on_host),
            "graph": tf.function(match_in_graph),
            "graph_xla": tf.function(match_in_graph, jit_compile=True),
        }
        for segments in args.segments:
            for kind in args.kind:
                measure(args, batch, segments, kind, matchers)


def measure(args, batch, segments, kind, matchers) -> None:
    """Measures one case."""
    similarity = similarities(kind, batch, args.padded, args.centers)
    valid = np.broadcast_to(np.arange(args.padded) < segments, [batch, args.padded])
    tensors = tf.constant(similarity), tf.constant(valid)
    arrays = [image[:segments] for image in similarity]
    runs = {
        "scipy": lambda: [linear_sum_assignment(image, maximize=True) for image in arrays],
        **{name: lambda match=match: finished(match(*tensors)) for name, match in matchers.items()},
    }
    seconds = time_in_turns(runs, args.repeats)
    for name in runs:
        print_line(
            case=name,
            kind=kind,
            centers=args.centers,
            segments=segments,
            batch=batch,
            threads=args.threads,
            **summary(seconds[name]),
            median_ms_per_image=round(1e3 * float(np.median(seconds[name])) / batch, 3),
            ratio=ratio(seconds[name], seconds["scipy"]),
        )


def similarities(kind: str, batch: int, segments: int, centers: int) -> np.ndarray:
    """Returns [batch, segments, centers] float32 similarities in 0..1."""
    rng = np.random.default_rng(0)
    shape = [batch, segments, centers]
    if kind == "untrained":
        return rng.normal(1e-3, 1e-4, shape).astype(np.float32)
    good = np.argsort(rng.random([batch, centers]))[:, :segments]
    similarity = 0.2 * rng.random(shape) ** 4
    mine = np.arange(centers) == good[:, :, np.newaxis]
    similarity[mine] += 0.8 * rng.random(mine.sum())
    return similarity.astype(np.float32)


if __name__ == "__main__":
    main()
