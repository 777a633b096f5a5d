"""``python -m tests.chaos --minutes N --seed S``: exit 0 only when no promise was broken."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import time
from pathlib import Path

import psutil

from devops_manager.embedded.places import VAR
from devops_manager.embedded.servers import embedded_servers
from tests.chaos import report
from tests.chaos.plan import Fault, draw_plan, fingerprint
from tests.chaos.run import Outcome, Run
from tests.chaos.world import ChaosStack


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things break")
    parser.add_argument("--seed", type=int, help="of the plan; drawn and shown if left out")
    parser.add_argument("--plan", action="store_true", help="show the plan and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run too")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    seconds = options.minutes * 60
    plan = draw_plan(seed, seconds)
    print(
        f"seed {seed}, {options.minutes:g} minutes, plan {fingerprint(plan)}: {len(plan)} faults",
        flush=True,
    )
    if options.plan:
        for fault in plan:
            print(fault)
        return 0
    outcome, directory = _attack(plan, seconds, seed=seed, keep=options.keep)
    return _tell(outcome, directory, seed=seed, keep=options.keep)


def _attack(plan: list[Fault], seconds: float, *, seed: int, keep: bool) -> tuple[Outcome, Path]:
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{seed}"
    directory = VAR / "chaos" / name
    marks = directory / "marks"
    marks.mkdir(parents=True)
    with embedded_servers(VAR) as servers:
        stack = ChaosStack(directory=directory, servers=servers)
        try:
            stack.start()
            run = Run(stack, plan=plan, seconds=seconds, seed=seed)
            outcome = run.run(marks=marks, run_name=name)
            if outcome.violations or keep:
                report.keep(stack, directory, outcome.violations)
        finally:
            stack.stop()
            _end_commands(name)
    return outcome, directory


def _tell(outcome: Outcome, directory: Path, *, seed: int, keep: bool) -> int:
    print(report.table(outcome))
    for text in outcome.violations:
        print(f"VIOLATION {text}")
    if outcome.violations:
        print(f"FAILED with seed {seed}; logs, tables and journals are in {directory}")
        return 1
    if not keep:
        shutil.rmtree(directory)
    print(f"passed with seed {seed}" + (f"; logs are in {directory}" if keep else ""))
    return 0


def _end_commands(run_name: str) -> None:
    """Kill what commands of killed agents left running."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("CHAOS_RUN") == run_name:
                process.kill()
        except psutil.Error:
            continue  # it has just ended, or is a zombie


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
