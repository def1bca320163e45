"""The three-node demonstration where it does not need three nodes: what it tells `ip` and Ray, and what it makes of a
run. That namespaces come and go is tried where the kernel lets us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import cluster_demo
import pytest
from cluster_demo import CPUS, RECIPE, SETTINGS, Harm, longest_pause, report
from group_ledger import Ledger
from namespace_cluster import DemoError, ray_environment, ray_start, until
from namespaces import HOST, LanError, Machine, cable, lan, run_ip

from fundus_ray.config import load

HEAD, OTHER = Machine("fr1-1", "fr1v1", "198.18.77.1"), Machine("fr1-2", "fr1v2", "198.18.77.2")


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    tried = subprocess.run(["ip", "link", "add", "frtest", "type", "bridge"], capture_output=True, check=False)
    if tried.returncode == 0:
        subprocess.run(["ip", "link", "del", "frtest"], check=True)
    return tried.returncode == 0


def test_recipe_loads_and_leaves_one_way_to_place_its_actors() -> None:
    config = load(RECIPE, [*SETTINGS])
    head, *others = CPUS
    assert config.rollout.cpus > head  # no engine there
    assert all(config.rollout.cpus <= cpus < config.rollout.cpus + config.learner.cpus for cpus in others)
    assert config.learner.cpus <= head
    assert config.rollout.workers == len(others)
    assert config.reward.workers * config.reward.cpus <= sum(others) - config.rollout.workers * config.rollout.cpus


def test_head_leads_and_others_join_it_under_their_own_addresses(tmp_path: Path) -> None:
    leads = ray_start(HEAD, head=HEAD, cpus=2, temp_dir=tmp_path)
    joins = ray_start(OTHER, head=HEAD, cpus=4, temp_dir=tmp_path)
    assert {"--head", "--port=6379", "--dashboard-host=198.18.77.1", "--num-cpus=2"} <= set(leads)
    assert {"--address=198.18.77.1:6379", "--node-ip-address=198.18.77.2", "--num-cpus=4"} <= set(joins)
    assert "--head" not in joins


def test_all_get_the_token_and_nothing_of_another_ray(tmp_path: Path) -> None:
    env = ray_environment({"PATH": "/bin", "RAY_AUTH_TOKEN": "old", "RAY_ADDRESS": "elsewhere"}, token=tmp_path / "t")
    assert (env["PATH"], env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("/bin", "token", str(tmp_path / "t"))
    assert not {"RAY_AUTH_TOKEN", "RAY_ADDRESS"} & env.keys()


def test_cable_goes_from_the_bridge_into_the_namespace() -> None:
    commands = [" ".join(words) for words in cable(OTHER, bridge="fr1")]
    assert commands[:2] == [
        "link add fr1v2 type veth peer name eth0 netns fr1-2",
        "link set fr1v2 master fr1 up",
    ]
    assert "-n fr1-2 addr add 198.18.77.2/24 dev eth0" in commands


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root, iproute2 and a kernel that makes bridges")
def test_machines_answer_until_they_are_cut_and_leave_nothing(tmp_path: Path) -> None:
    with lan(1) as (machine,):
        serve = [sys.executable, "-m", "http.server", "8000", "--bind", machine.address, "--directory", str(tmp_path)]
        server = machine.start(serve, env=os.environ, log=tmp_path / "log")

        def answers() -> bool:
            try:
                return urllib.request.urlopen(f"http://{machine.address}:8000", timeout=1).status == 200
            except OSError:
                return False

        until(answers, limit_s=30, what="an answer")
        machine.cut()
        assert not answers()
        assert server.poll() is None  # it lives, and knows of nothing
        machine.mend()
        until(answers, limit_s=30, what="an answer again")
        machine.kill_all()
        assert server.wait(timeout=10) != 0
        name, link = machine.namespace, machine.link
    assert name not in run_ip("netns", "list")
    assert link not in run_ip("link", "show")
    assert HOST not in run_ip("addr", "show")


def test_what_ip_says_is_told() -> None:
    if shutil.which("ip") is None:
        pytest.skip("no iproute2")
    with pytest.raises(LanError, match=r"ip link show no-such: .*no-such.*does not exist"):
        run_ip("link", "show", "no-such")


def test_a_wait_ends_at_its_limit_or_where_it_is_in_vain() -> None:
    with pytest.raises(DemoError, match=r"not within 0 s: rain"):
        until(lambda: False, limit_s=0.0, what="rain")

    def in_vain() -> None:
        raise DemoError("the job ended")

    with pytest.raises(DemoError, match="the job ended"):
        until(lambda: False, limit_s=60.0, what="rain", check=in_vain)


def test_longest_pause_is_that_of_the_updates_around_the_fault() -> None:
    times = [0.0, 20.0, 21.0, 30.0, 33.0, 60.0]
    assert longest_pause(times, start=20.5, end=31.0) == 9.0
    assert longest_pause(times, start=61.0, end=70.0) == 0.0


def test_report_gives_each_fault_what_the_run_wrote_of_it() -> None:
    ledger = Ledger(updates=4, trained=10, dropped=2, lost=(), twice=(7,), torn=(), written_again=3, scored_again=1)
    harms = [
        Harm("cut off", 3, at=100.0, noticed=128.0, back=150.0),
        Harm("killed", 2, at=200.0, noticed=201.2, back=220.0),
    ]
    faults = [
        {"worker": "rollout-1", "time": 128.5, "requeued": [5, 6], "recover_s": 36.5},
        {"worker": "reward-1", "time": 129.0, "requeued": [4], "recover_s": 3.0},
        {"worker": "rollout-0", "time": 201.5, "requeued": [], "recover_s": None},
    ]
    text = report(ledger, harms, faults=faults, times=[99.0, 140.0, 151.0, 199.0, 203.0])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    assert ["node 3 cut off", "28.0", "28.5", "41.0", "50.0", "3", "rollout-1 65.0, reward-1 32.0"] in rows
    assert ["node 2 killed", "1.2", "1.5", "4.0", "20.0", "0", "rollout-0 died again"] in rows
    assert ["4", "10", "2", "3", "1", "0", "1"] in rows


def test_job_that_ended_early_is_an_error_with_its_state(tmp_path: Path) -> None:
    folder = tmp_path / "cluster-demo-1"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": n, "time": float(n)}) + "\n" for n in (1, 2)))

    class Ended(cluster_demo.Run):
        """As it is, without a cluster to ask."""

        def __init__(self) -> None:
            self._parent, self._before = tmp_path, set()

        def state(self) -> str:
            return "FAILED"

    assert (Ended().folder, Ended().times()) == (folder, [1.0, 2.0])
    with pytest.raises(DemoError, match="the job ended as FAILED after 2 updates"):
        Ended().wait_for_updates(3)
