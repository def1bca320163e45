"""The command `fundus-ray`: sub-commands in pipeline order.

In: a command line. Out: text on stdout, one or two lines of error on stderr, and an exit code: 0 done, 1 failed,
2 bad input, 130 stopped by Ctrl-C or SIGTERM; 0 also where SIGTERM ended `train` in order. Heavy libraries are imported
inside the chosen sub-command only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from fundus_ray import __version__
from fundus_ray.cli import data, doctor, evaluate, knowledge, plan, reward, runs, submit, traces
from fundus_ray.errors import FundusRayError
from fundus_ray.stopping import Termination

STOPPED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE
EXTRA_PACKAGES = ("torch", "transformers", "peft", "vllm")  # they come with the extras `cpu` and `gpu`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; every error becomes its message and exit code."""
    args = parse(build_parser(), argv)
    termination = Termination()
    handlers = {
        # Python's own handler, also where a shell started us in the background and so had Ctrl-C ignored.
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, termination),
    }
    try:
        args.run(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it exits
        return BROKEN_PIPE
    except KeyboardInterrupt as err:
        if termination.asked and args.ends_in_order:
            print("fundus-ray: ended in order after SIGTERM", file=sys.stderr)
            return 0
        return explain(err, debug=args.debug)
    except Exception as err:  # noqa: BLE001  # the outermost boundary: nobody else will say it
        return explain(err, debug=args.debug)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def explain(err: BaseException, *, debug: bool) -> int:
    """Say on stderr what went wrong, in one or two lines. Returns the exit code."""
    if debug:
        traceback.print_exception(err)
    match err:
        case KeyboardInterrupt():
            message, code = str(err) or "stopped", STOPPED
        case FundusRayError():
            message, code = f"error: {err}", err.exit_code
        case ModuleNotFoundError(name=str(name)) if name.split(".")[0] in EXTRA_PACKAGES:
            message, code = f"error: no module {name}; install the extra `cpu` or `gpu`: see README.md", 1
        case _:
            hint = "" if debug else "\nrun again with --debug for the traceback"
            message, code = f"error: {type(err).__name__}: {' '.join(str(err).split())}{hint}", 1
    print(f"fundus-ray: {message}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="fundus-ray", description="Distributed RLVR on Ray for chain-of-thought reading of fundus images."
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="on an error also print the traceback")
    commands = parser.add_subparsers(title="commands, in pipeline order", metavar="COMMAND", required=True)

    for module in (data, knowledge, traces, doctor, runs, submit, evaluate, plan, reward):
        module.register(commands)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """As `parser.parse_args`, but `a.b=c` overrides may stand before, between and behind the options."""
    args, rest = parser.parse_known_args(argv)
    unknown = [item for item in rest if item.startswith("-") or not args.takes_overrides]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; `fundus-ray COMMAND --help` lists what there is")
    if args.takes_overrides:
        args.overrides += rest
    return args
