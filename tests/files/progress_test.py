import io

import pytest

from kmax_tf.files import progress


@pytest.fixture
def now(monkeypatch):
    """The time, which passes when it is told to."""
    seconds = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_the_last_line_and_one_every_ten_seconds(now):
    stream = io.StringIO()
    counter = progress.Progress(200, "draw", stream)
    for _ in range(200):
        now[0] += 0.1
        counter.advance()
    first, last = stream.getvalue().splitlines()
    assert first.startswith("draw: 10")
    assert first.endswith(", 10/s, 0:10 left")
    assert last == "draw: 200/200, 10/s, 0:20"


def test_a_terminal_is_rewritten_in_place():
    stream = Terminal()
    counter = progress.Progress(3, "draw", stream)
    counter.advance(2)
    counter.advance()
    assert stream.getvalue().startswith("\r")
    assert stream.getvalue().count("\n") == 1
    assert "draw: 3/3" in stream.getvalue()


def test_a_line_of_its_own_takes_the_place_of_the_one_that_is_rewritten():
    stream = Terminal()
    counter = progress.Progress(2, "draw", stream)
    counter.advance(2)
    counter.say("one failed")
    assert stream.getvalue().endswith("\r\x1b[Kone failed\n")


def test_hours_are_shown(now):
    stream = io.StringIO()
    counter = progress.Progress(1, "draw", stream)
    assert stream.getvalue() == ""
    now[0] += 3 * 3600 + 65
    counter.advance()
    assert stream.getvalue() == "draw: 1/1, 0.00/s, 3:01:05\n"
