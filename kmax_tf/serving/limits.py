"""How much a server takes, at most."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what is asked of a server, so that its memory has a bound, too.

    Attributes:
      body: bytes of a request.
      pixels: of the images of a request, with the padding that a batch of maps gets.
      images: of a request.
      values: numbers in a reply, which as JSON take some 5 bytes each.
      seconds: from a request's first byte to its answer.
      requests: under way at once, those that are still read among them.
      queue: images that wait for the model.
      batch: images that the model is given at once, of one request or several.
    """

    body: int = 32 * 2**20
    pixels: int = 50_000_000
    images: int = 64
    values: int = 50_000_000
    seconds: float = 60.0
    requests: int = 64
    queue: int = 128
    batch: int = 8
