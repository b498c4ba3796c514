"""What a request is answered that can't be done: a status of HTTP and a sentence."""

from __future__ import annotations

from kmax_tf.errors import UserError

# Seconds after which it is worth to ask again.
_RETRY_AFTER = {429: 1, 503: 2}


class RefusedError(UserError):
    """Says why a request isn't answered, and what to do about it.

    Attributes:
      status: 400 the request's form, 404 no such thing, 408 it came too slowly, 413 too many bytes,
        415 compressed, 422 its images, 429 too many at once, 500 the model failed, 503 the queue is
        full, 504 it took too long.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        """Returns what the answer's head says beside its status."""
        # What is left of a body that is refused isn't read.
        headers = {"Connection": "close"} if self.status in (408, 413) else {}
        if self.status in _RETRY_AFTER:
            headers["Retry-After"] = str(_RETRY_AFTER[self.status])
        return headers
