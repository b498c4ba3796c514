"""How a sub-command that works through images goes on: progress, failures, exit status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kmax_tf.wording import count_of, some

if TYPE_CHECKING:
    import numpy as np

    from kmax_tf.cli.image_files import NamedImage
    from kmax_tf.errors import UserError

# Failures named in the last line.
_MOST_NAMED = 5


class Tally:
    """Counts images that are done, and those that could not be read, which are told at once.

    Attributes:
      progress: of the command.
    """

    def __init__(self, total: int, command: str):
        """Starts the clock.

        Args:
          total: number of images.
          command: whose progress is shown.
        """
        from kmax_tf.files.progress import Progress

        self.progress = Progress(total, command)
        self._done = 0
        self._failed: list[str] = []

    def done(self, before: bool = False) -> None:
        """Counts an image; one that was done before tells nothing of the rate."""
        self._done += 1
        if before:
            self.progress.skip()
        else:
            self.progress.advance()

    def failed(self, path: str, error: UserError) -> None:
        """Tells why an image could not be read."""
        from kmax_tf.errors import error_line

        self.progress.say(error_line("kmax", error))
        self._failed.append(path)
        self.progress.skip()

    def end(self, results: str) -> int:
        """Says in the last line how it went, and returns the exit status: 1 where images failed.

        Args:
          results: where the results are, where there are any.
        """
        if self._done:
            print(results, flush=True)
        if not self._failed:
            return 0
        named = some(self._failed, _MOST_NAMED)
        if len(self._failed) > _MOST_NAMED:
            named += ", all listed above"
            for path in self._failed:
                self.progress.say(f"could not be read: {path}")
        total = count_of(self._done + len(self._failed), "image")
        self.progress.say(f"kmax: error: {len(self._failed)} of {total} could not be read: {named}")
        return 1


class ImagesInTurn(Tally):
    """The images of a command line, read one after another, ahead of what is done with them.

    One that cannot be read is told at once, and the others go on.
    """

    def __init__(self, images: Sequence[NamedImage], command: str):
        """Starts the clock; the command is that whose progress is shown."""
        super().__init__(len(images), command)
        self._images = images

    def __iter__(self) -> Iterator[tuple[NamedImage, np.ndarray]]:
        """Yields each image that can be read with its pixels [H, W, 3] uint8."""
        from kmax_tf.errors import BadExampleError
        from kmax_tf.files.ahead import map_ahead
        from kmax_tf.files.images import read_image

        reading = map_ahead(lambda image: read_image(image.path), self._images, 1, ahead=2)
        for image, pixels in reading:
            try:
                found = pixels.result()
            except BadExampleError as error:
                self.failed(image.path, error)
                continue
            yield image, found
            self.done()
