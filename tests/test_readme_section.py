from __future__ import annotations

from pathlib import Path

import pytest
from readme_section import marks, write_section, write_section_with_picture

SCRIPT = "scripts/x.sh"
PLACE = Path("scripts/x.png")


def test_a_picture_is_copied_and_shown_before_the_text_between_the_marks(tmp_path: Path) -> None:
    begin, end = marks(SCRIPT)
    picture = tmp_path / "new.png"
    picture.write_bytes(b"picture")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "README.md").write_text(f"head\n{begin}\nold\n{end}\ntail\n")
    write_section_with_picture("new", script=SCRIPT, picture=picture, place=PLACE, shows="a, b", root=tmp_path)
    section = f"{begin}\n\n![a, b](scripts/x.png)\n\nnew\n\n{end}"
    assert (tmp_path / "README.md").read_text() == f"head\n{section}\ntail\n"
    assert (tmp_path / "scripts" / "x.png").read_bytes() == b"picture"


def test_a_readme_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match=r"must hold '<!-- made by scripts/x\.sh -->'"):
        write_section("new", script=SCRIPT, root=tmp_path)
    assert (tmp_path / "README.md").read_text() == "no marks"
