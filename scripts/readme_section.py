"""A section of README.md that a script makes: between its two marks, with its picture beside the script."""

from __future__ import annotations

import shutil
from pathlib import Path


def marks(script: str) -> tuple[str, str]:
    """The lines before and after what `script` makes."""
    return f"<!-- made by {script} -->", f"<!-- end of {script} -->"


def write_section(text: str, *, script: str, picture: Path, place: Path, shows: str, root: Path) -> None:
    """Replace what stands between the marks of README.md by the picture, copied to `place` below root, and the text.

    `shows`: the picture in words. Raises ValueError where the marks are not there, and changes nothing then.
    """
    readme, (begin, end) = root / "README.md", marks(script)
    old = readme.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{readme} must hold {begin!r} and {end!r} once each")
    head, rest = old.split(begin)
    shutil.copyfile(picture, root / place)
    section = f"{begin}\n\n![{shows}]({place})\n\n{text}\n\n"
    readme.write_text(head + section + end + rest.split(end)[1])
