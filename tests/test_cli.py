"""The command line, mostly as a user meets it: in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from replica import photo, text

from fundus_ray.cli import build_parser, explain, main, parse
from fundus_ray.cli.runs import documented_yaml
from fundus_ray.config import Config, documented_fields, load
from fundus_ray.errors import ConfigError, WorkerDiedError

HEAVY = ("torch", "vllm", "ray", "transformers", "numpy", "omegaconf", "matplotlib", "tantivy", "elasticsearch")
TIMEOUT_S = 120
TIMES = ("--tokens", "20:5", "--tokens-per-s", "50,2000", "--update-s", "2")  # of a made-up system, for `plan`
BENCHMARK = ("evaluate", "--benchmark", "funbench", "--root", "no/such", "--out", "no/out")


def fundus_ray(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it."""
    command = [sys.executable, "-m", "fundus_ray.cli", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
    )


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from fundus_ray.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    assert python(code).stderr.strip() == "[]"


def test_help_lists_the_commands_in_pipeline_order() -> None:
    shown = re.findall(r"^    (\w+) ", fundus_ray("--help").stdout, flags=re.MULTILINE)
    run = ["train", "generate", "export", "report", "config"]
    assert shown == ["data", "knowledge", "traces", "doctor", *run, "submit", "evaluate", "plan", "reward"]


def test_import_says_what_it_took_and_what_it_left_out(tmp_path: Path) -> None:
    text(tmp_path / "train.csv", "id_code,diagnosis", "a,2", "b,9", "c,1")
    photo(tmp_path / "train_images" / "a.png")
    done = fundus_ray("data", "import", "aptos2019", "--root", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"imported 1 of 3 rows, 1 patients, into {tmp_path}/out/aptos2019.jsonl"
    assert second.startswith("left out: unknown code 1, missing file 1; each is named in ")
    assert "importing aptos2019: 3row" in done.stderr
    strict = fundus_ray("data", "import", "aptos2019", "--root", tmp_path, "--out", tmp_path / "out", "--strict")
    assert strict.returncode == 2
    assert "train.csv:3: diagnosis is '9'; allowed are 0, 1, 2, 3, 4" in strict.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["config", "loop.async_ratio=-1"], "loop.async_ratio=-1.0 is not allowed: must be >= 0"),
        (["config", "policy.lora_rank=1024"], "policy.lora_rank=1024 is not allowed: must be >= 1 and <= 512"),
        (["config", "--config", "no/such.yaml"], "config file no/such.yaml does not exist"),
        (["train", "--config", "configs/quickstart.yaml", "loop.stepz=1"], "did you mean loop.steps?"),
        (
            ["train", "--config", "configs/quickstart.yaml", "policy.path=/no/such"],
            "/no/such is not a checkpoint folder",
        ),
        (["train", "--config", "configs/quickstart.yaml", "policy.lora_rank=1024"], "must be >= 1 and <= 512"),
        (
            ["knowledge", "search", "drusen", "--url", "http://127.0.0.1:9200"],
            "knowledge.url has no effect with knowledge.store=embedded",
        ),
        (
            ["knowledge", "search", "drusen", "--store", "elasticsearch", "--url", "localhost"],
            "knowledge.url=localhost must be http://HOST:PORT",
        ),
        (
            ["knowledge", "build", "--out", "x", "--store", "elasticsearch", "knowledge.ca_certs=/no/such.pem"],
            "knowledge.ca_certs=/no/such.pem is not a file",
        ),
        (
            ["knowledge", "build", "--out", "x", "--store", "elasticsearch", "knowledge.api_key_env=NO_SUCH_KEY"],
            "knowledge.api_key_env=NO_SUCH_KEY: this environment variable is not set",
        ),
        (["knowledge", "search", "drusen", "--top", "0"], "--top=0 is not allowed: must be >= 1 and <= 10000"),
        (["knowledge", "search", "drusen", "--top", "10001"], "--top=10001 is not allowed: must be >= 1 and <= 10000"),
        (
            ["knowledge", "search", "drusen", "--index", "x", "--store", "elasticsearch"],
            "--index=x is the folder of an embedded store and has no effect with knowledge.store=elasticsearch",
        ),
        (
            ["knowledge", "search", "drusen", "--index", "x", "knowledge.store=elasticsearch"],
            "leave it out, or name an index of the cluster by knowledge.index",
        ),
        (["train"], "--config configs/quickstart.yaml or --resume"),
        (["plan"], "without --run RUN_DIR, plan needs --tokens, --tokens-per-s, --update-s"),
        (["plan", "--run", "no/such/run"], "no/such/run is not the folder of a run that has ended"),
        (["plan", "--run", "x", "--workers", "0,1"], "--workers 0,1 must be whole numbers with commas between"),
        (["plan", "--run", "x", "--workers", "1.5"], "each >= 1 and <= 100000"),
        (["plan", "--run", "x", "--ratios", "65"], "--ratios 65 must be numbers with commas between"),
        (["plan", "--run", "x", "--ratios", "nan"], "each >= 0 and <= 64"),
        (["plan", "--run", "x", "--workers", "1", "--devices", "4"], "--workers and --devices exclude each other"),
        (["plan", *TIMES, "--devices", "1"], "--devices=1 is not allowed: must be >= 2"),
        (["plan", *TIMES, "loop.async_ratio=1"], "loop.async_ratio is what plan varies: give --ratios instead"),
        (["plan", *TIMES, "learner.learning_rate=1"], "learner.learning_rate has no effect on a plan; it reads"),
        (["plan", *TIMES, "--ratios", "0", "loop.window=4"], "loop.window=4 has no effect at ratio 0"),
        (["plan", *TIMES, "--prompt-s", "-1"], "--prompt-s=-1 is not allowed: must be >= 0"),
        (["plan", *TIMES, "--sync-s", "1:x"], "--sync-s 1:x must be M or M:S"),
        (["train", "--resume", "no/such/run"], "no/such/run is not a run folder"),
        (["reward", "explain", "no/such.jsonl", "--id", "1.0"], "no/such.jsonl does not exist"),
        (["reward", "rescore", "no/such.jsonl", "reward.formatt=1"], "did you mean reward.format?"),
        (
            ["reward", "score", "--modality", "mri", "--question", "Q", "--truth", "A"],
            "--modality mri is not known; give one of cfp, oct, uwf",
        ),
        (
            ["reward", "score", "--modality", "cfp", "--question", "Q", "--options", "x, y", "--truth", "A"],
            "--options 'x, y' cannot be read",
        ),
        (["reward", "score", "--modality", "cfp", "--question", "Q", "--truth", "A"], "no chain on standard input"),
        (["data", "sheet", "--columns", "0", "--out", "x.png"], "at least 1 column"),
        (
            ["data", "import", "idrd", "--root", ".", "--out", "x"],
            "called 'idrd'; did you mean idrid?",
        ),
        (["data", "import", "idrid", "--root", "no/such", "--out", "x"], "--root no/such is not a folder"),
        (
            [*BENCHMARK, "--predictions", "x", "--prompt", "think"],
            "--prompt is for --model; --predictions runs no model",
        ),
        ([*BENCHMARK, "--predictions", "x", "rollout.workers=2"], "rollout.workers=2 is for --model"),
        ([*BENCHMARK, "--model", "x", "--prompt", "think", "--e-mode", "2"], "--e-mode is for funbench with --prompt"),
        ([*BENCHMARK, "--model", "x", "--orders", "2"], "--orders is for --controls order"),
        ([*BENCHMARK, "--model", "x", "loop.steps=2"], "loop.steps has no effect on evaluate; it reads policy.dtype"),
        ([*BENCHMARK, "--model", "x"], "no/such: no such folder; give FunBench's folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], said: str) -> None:
    done = fundus_ray(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fundus-ray: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), (b"\x89PNG cut off", "damaged")])
def test_bad_image_is_one_line_with_file_and_row_before_anything_starts(
    content: bytes | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "eye.png").write_bytes(content)
    row = {"image": "eye.png", "modality": "CFP", "question": "Which?", "options": ["a", "b"], "answer": "a"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    done = fundus_ray(
        "train", "--config", "configs/jsonl.yaml", f"data.path={tmp_path}/rows.jsonl", f"run.dir={tmp_path}/runs"
    )
    last = done.stderr.splitlines()[-1]  # behind a progress bar
    assert done.returncode == 2
    assert last.startswith(f"fundus-ray: error: {tmp_path}/rows.jsonl:1: ")
    assert "eye.png" in last
    assert said in last


def test_a_plan_of_stated_times_is_json_with_every_cell_and_a_choice() -> None:
    done = fundus_ray("plan", *TIMES, "--workers", "2,1", "--ratios", "0,1", "--json", "loop.groups_per_step=8")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert [(c["workers"], c["async_ratio"]) for c in plan["cells"]] == [(1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0)]
    assert plan["recommended"] in plan["cells"]
    assert plan["service"]["tokens_a_rollout"] == pytest.approx(20, rel=0.05)
    assert plan["fit"] is None


@pytest.mark.parametrize("words", [["nonsense"], ["report"], ["report", "a", "b"], ["config", "--nonsense"], []])
def test_command_line_outside_the_grammar_is_exit_code_2(words: list[str]) -> None:
    done = fundus_ray(*words)
    assert done.returncode == 2
    assert "usage: fundus-ray" in done.stderr


def test_traceback_appears_under_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "loop.steps=-1"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--debug", "config", "loop.steps=-1"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["config", "loop.steps=-1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("err", "code", "said"),
    [
        (ConfigError("a.b=1 is not allowed"), 2, "fundus-ray: error: a.b=1 is not allowed\n"),
        (WorkerDiedError("rollout-0 died"), 1, "fundus-ray: error: rollout-0 died\n"),
        (KeyboardInterrupt(), 130, "fundus-ray: stopped\n"),
        (
            ModuleNotFoundError("No module named 'vllm'", name="vllm.sampling_params"),
            1,
            "fundus-ray: error: no module vllm.sampling_params; install the extra `cpu` or `gpu`: see README.md\n",
        ),
        (
            ZeroDivisionError("division by zero"),
            1,
            "fundus-ray: error: ZeroDivisionError: division by zero\nrun again with --debug for the traceback\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_error_becomes_message_and_exit_code(
    err: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(err, debug=False) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_with_130_even_from_a_background_job(number: signal.Signals) -> None:
    code = """
import sys, time
from fundus_ray.cli import main, runs
def work(args):
    print("working", flush=True)
    time.sleep(60)
runs._report = work
sys.exit(main(["report", "x"]))
"""
    process = subprocess.Popen(
        ["bash", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, code],  # as a shell starts background jobs
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, "fundus-ray: stopped\n")


def test_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "fundus_ray.cli", "config"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    main(["config", "loop.steps=-1"])
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(
    "words",
    [
        "train a.b=1 --config x.yaml c.d=2 --resume latest e.f=3",
        "train --config x.yaml --resume latest a.b=1 c.d=2 e.f=3",
        "train a.b=1 c.d=2 e.f=3 --config x.yaml --resume latest",
    ],
)
def test_overrides_may_stand_anywhere(words: str) -> None:
    args = parse(build_parser(), words.split())
    assert sorted(args.overrides) == ["a.b=1", "c.d=2", "e.f=3"]
    assert (args.config, args.resume) == (Path("x.yaml"), "latest")


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["run.name='odd: name # here'", "loop.async_ratio=0.25", "learner.learning_rate=3e-7"],
        [
            "run.dir='yes'",
            "data.source=jsonl",
            "data.path='~/ä b.jsonl'",
            "sft.vision_warmup_steps=0",
            "sft.bf16=false",
        ],
    ],
)
def test_printed_configuration_loads_back_to_the_same(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", *settings]) == 0
    recipe = tmp_path / "printed.yaml"
    recipe.write_text(capsys.readouterr().out)
    assert load(recipe) == load(None, settings)


def test_printed_configuration_documents_every_key_in_the_line_above() -> None:
    lines = documented_yaml(load(None, ["loop.steps=3"])).splitlines()
    for key, meta, _ in documented_fields(Config()):
        section, _, name = key.partition(".")
        at = next(i for i in range(lines.index(f"{section}:"), len(lines)) if lines[i].startswith(f"  {name}: "))
        assert lines[at - 1].startswith(f"  # {meta['doc']}")
    assert "  # policy updates [>= 0; default 40]" in lines
    assert "  # prompts an update [>= 1]" in lines


def test_contact_sheet_shows_every_disease(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    assert main(["data", "sheet", "--out", str(out), "--columns", "1"]) == 0
    with Image.open(out) as sheet:
        width, height = sheet.size
    assert 168 <= width < 2 * 168
    assert height > 6 * 168


def test_knowledge_build_says_what_went_in_and_search_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "coats.md").write_text("# Coats disease\n\nTelangiectasia with massive exudation.\n")
    (documents / "latin.md").write_bytes(b"h\xe4morrhage")
    own = f"knowledge.passages_dir={documents}"
    assert main(["knowledge", "build", "--out", str(tmp_path / "index"), own]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ passages of \d+ files", shown[0])
    assert next(line for line in shown if "latin.md" in line).startswith("left out: ")
    snapshot = shown[-1].split()[1]
    assert (tmp_path / "index" / snapshot).is_dir()

    assert (
        main(
            [
                "knowledge",
                "search",
                "telangiectasia, massive exudation",
                "--top",
                "2",
                "--index",
                str(tmp_path / "index"),
                own,
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("1. Coats disease (user/coats#")
    assert shown[-1] == f"snapshot {snapshot}"

    command = [
        "knowledge",
        "search",
        "telangiectasia, massive exudation",
        "--json",
        "--top",
        "1",
        "--index",
        str(tmp_path / "index"),
        own,
    ]
    assert main(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == ["rank", "score", "passage_id", "title", "section", "text", "source", "licence", "snapshot"]
    assert (row["rank"], row["title"], row["snapshot"]) == (1, "Coats disease", snapshot)

    # The same folder under other settings holds another snapshot.
    assert main(["knowledge", "search", "drusen", "--index", str(tmp_path / "index")]) == 2
    assert "no knowledge index here" in capsys.readouterr().err


def test_knowledge_search_keeps_its_index_in_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"run.dir={tmp_path}"
    assert main(["knowledge", "search", "zzzz", where]) == 0
    assert capsys.readouterr().out == "no passage matches\n"
    assert main(["knowledge", "search", "drusen", "--modality", "oct", where]) == 0
    assert "drusen" in capsys.readouterr().out.lower()
    assert len(list((tmp_path / "cache" / "knowledge").iterdir())) == 1


def test_a_chain_without_a_score_is_no_zero_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "broken_reward.py").write_text(
        "def reward(rollout, sample, reading, evidence):\n    raise ValueError('out of ink')\n"
    )
    words = ["--modality", "cfp", "--question", "Q", "--options", "A. normal, B. glaucoma", "--truth", "B"]
    settings = ["reward.plugin=broken_reward:reward", f"run.dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "fundus_ray.cli", "reward", "score", *words, *settings],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        input="<think>Findings: drusen. Conclusion: glaucoma.</think><answer>B</answer>",
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"},
    )
    assert done.returncode == 1
    made = json.loads(done.stdout)
    assert (made["status"], made["total"]) == ("unscorable", None)
    last = done.stderr.splitlines()[-1]  # behind a progress bar
    assert last.startswith("fundus-ray: error: no score: reward.plugin=broken_reward:reward raised ValueError")


def test_resume_of_the_latest_run_leaves_its_settings_to_be_judged_with_the_run(tmp_path: Path) -> None:
    # gpu_memory_utilization does nothing under the defaults, but may under the run's own settings.
    done = fundus_ray("train", "--resume", "latest", f"run.dir={tmp_path}", "rollout.gpu_memory_utilization=0.5")
    assert done.returncode == 2
    assert f"{tmp_path}/latest is not a run folder" in done.stderr
