"""What a run says while it goes on, by a clock of our own."""

from __future__ import annotations

from kmax_tf.training.run_progress import RunProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_every_few_seconds_with_the_rate_of_steps_alone() -> None:
    clock, lines = Clock(), []
    progress = RunProgress(100, 8, lines.append, clock)
    progress.begin_loop(0)
    with progress.stage("making the graph"):
        clock.now += 30
    progress.first_step_done()
    for _ in range(9):
        clock.now += 2
        progress.step_done()
    progress.end_loop({"training_loss": 3.25}, 10)
    assert lines == [
        "making the graph ...",
        "making the graph: 30.0 s",
        "step 4/100  2000 ms/step  4.0 images/s  3:12 left",
        "step 7/100  2000 ms/step  4.0 images/s  3:06 left",
        "step 10/100  2000 ms/step  4.0 images/s  3:00 left",
        "step 10/100  loss 3.250  2000 ms/step  4.0 images/s  3:00 left",
    ]
    clock.now += 500  # an evaluation
    progress.begin_loop(10)
    clock.now += 1
    progress.step_done()
    progress.end_loop({"training_loss": 3.0}, 11)
    assert lines[-1] == "step 11/100  loss 3.000  1000 ms/step  8.0 images/s  1:29 left"


def test_a_run_of_a_single_step_has_no_rate() -> None:
    lines: list[str] = []
    progress = RunProgress(1, 8, lines.append, Clock())
    progress.begin_loop(0)
    progress.first_step_done()
    progress.end_loop({"training_loss": 1.0}, 1)
    assert lines == ["step 1/1  loss 1.000"]
