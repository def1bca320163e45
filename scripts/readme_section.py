"""A section of README.md that a script makes: between its two marks, perhaps with a picture."""

from __future__ import annotations

import shutil
from pathlib import Path


def marks(script: str) -> tuple[str, str]:
    """The lines before and after what `script` makes."""
    return f"<!-- made by {script} -->", f"<!-- end of {script} -->"


def write_section(text: str, *, script: str, root: Path) -> None:
    """Replace what stands between the marks of README.md. Raises ValueError where they are not there."""
    readme, (begin, end) = root / "README.md", marks(script)
    old = readme.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{readme} must hold {begin!r} and {end!r} once each")
    head, rest = old.split(begin)
    readme.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def write_section_with_picture(text: str, *, script: str, picture: Path, place: Path, shows: str, root: Path) -> None:
    """The same with the picture before the text; it is copied to `place` below root. `shows`: the picture in words."""
    write_section(f"![{shows}]({place})\n\n{text}", script=script, root=root)
    shutil.copyfile(picture, root / place)
