"""Progress where no terminal is: lines that can be read."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, time
from tqdm import tqdm
from fundus_ray import bars
bars.LINE_EVERY_S = 0.05
with bars.Bar(total=4, desc="RLVR", unit="update", initial=1) as bar:
    for step in range(3):
        bar.set_postfix({"reward": f"{step}"}, refresh=False)
        time.sleep(0.06)
        bar.update()
    tqdm.write("== said beside it", file=sys.stderr)
list(bars.Bar(range(5), desc="quick", unit="row"))
list(bars.Bar([], desc="nothing", unit="row"))
"""


def test_a_bar_in_a_log_is_lines_without_carriage_returns() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, timeout=60)
    lines = done.stderr.decode().split("\n")
    assert b"\r" not in done.stderr
    assert [line.split(" [")[0] for line in lines] == [
        "RLVR:  50% 2/4",
        "RLVR:  75% 3/4",
        "RLVR: 100% 4/4",
        "== said beside it",
        "quick: 100% 5/5",
        "",
    ]
    assert lines[2].endswith("reward=2]")
