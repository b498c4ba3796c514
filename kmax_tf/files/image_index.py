"""Finding the images that a list of annotations names, however it spells their names."""

from __future__ import annotations

import os
import unicodedata
import urllib.parse

from kmax_tf.files.file_kinds import OTHER_SUFFIXES
from kmax_tf.files.images import IMAGE_SUFFIXES
from kmax_tf.files.reading import is_folder, list_folder
from kmax_tf.wording import some

_SUFFIXES = (*IMAGE_SUFFIXES, *OTHER_SUFFIXES)


class ImageIndex:
    """The images below a folder.

    A name is that of an image if one of both ends with the other, folder by folder: a list made
    elsewhere may have more folders or fewer. Where several fit, the one counts that is spelt so,
    then the one that differs in how accents are written, then in case. Names may be URLs.
    """

    def __init__(self, folder: str) -> None:
        """Looks through a folder, and the folders in it."""
        self.folder = folder
        self.paths: list[str] = []
        self._add(folder, "")
        self._by_name: dict[str, list[str]] = {}
        for path in self.paths:
            self._by_name.setdefault(_any_case(os.path.basename(path)), []).append(path)

    def find(self, name: str) -> str:
        """Returns the path, below the folder, of the image of a name.

        Raises:
          ValueError: there is none, or several, in a sentence.
        """
        wanted = name.replace("\\", "/").strip()
        for spelling in dict.fromkeys((wanted, _of_url(wanted))):
            found = self._fitting(spelling)
            if len(found) > 1:
                raise ValueError(
                    f"{name} may be any of {some(sorted(found))} in {self.folder}; give its folders"
                )
            if found:
                return found[0]
        raise ValueError(f"there is no image {name} in {self.folder}")

    def _fitting(self, wanted: str) -> list[str]:
        candidates = self._by_name.get(_any_case(wanted.rpartition("/")[2]), [])
        for spelt in (str, _composed, _any_case):
            parts = [part for part in spelt(wanted).split("/") if part not in ("", ".")]
            shared = {path: _shared(spelt(path).split("/"), parts) for path in candidates}
            most = max(shared.values(), default=0)
            if most:
                return [path for path, count in shared.items() if count == most]
        return []

    def _add(self, folder: str, inside: str) -> None:
        for name in list_folder(folder):
            path = os.path.join(folder, name)
            if name.lower().endswith(_SUFFIXES):
                self.paths.append(inside + name)
            elif not os.path.splitext(name)[1] or is_folder(path):
                self._add(path, f"{inside}{name}/")


def _shared(first: list[str], second: list[str]) -> int:
    """Returns the length of the shorter path, if the longer one ends with it; else 0."""
    count = min(len(first), len(second))
    return count if first[-count:] == second[-count:] else 0


def _of_url(name: str) -> str:
    """Returns the path in a URL; Label Studio's has it as the value of d."""
    url = urllib.parse.urlsplit(name) if "://" in name or name.startswith("/data/") else None
    if url is None:
        return urllib.parse.unquote(name)
    query = urllib.parse.parse_qs(url.query)
    return query["d"][0] if "d" in query else urllib.parse.unquote(url.path)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _any_case(name: str) -> str:
    return _composed(name).casefold()
