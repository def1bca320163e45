from __future__ import annotations

from fundus_ray.obs.report_table import aligned, table


def test_columns_are_flush_right_but_for_the_last_one() -> None:
    assert aligned([("a", "bcd", "x"), ("10", "2", "yz")]) == " a  bcd  x\n10    2  yz"


def test_pipes_and_line_breaks_in_a_cell_do_not_break_a_markdown_table() -> None:
    assert table(("a",), [("x|y\nz",)]) == "| a |\n| --- |\n| x\\|y z |"
