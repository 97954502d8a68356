# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Google Benchmark's JSON as tables of ratios, and which targets (targets.csv) they reach."""

import csv
import platform
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

TARGETS = Path(__file__).with_name("targets.csv")
PEERS = ["eigen", "xtensor", "torch_eager", "torch_expert"]  # that should be there
OTHERS = ["std", "separate_steps", "separate_rows", "two_calls", "masked", "reference", "roof"]  # columns come in this order
US = "tempflow"
QUIET = 0.1  # processors that other programs may use

# ratio of each repetition
Ratios = dict[str, list[float]]


@dataclass(frozen=True)
class Group:
    """What is measured, but for who does it."""
    kernel: str
    storage: str
    size: str
    threads: int
    cold: bool

    def __str__(self) -> str:
        return f"{self.kernel}/{self.storage}/{self.size}/{self.threads}{'/cold' if self.cold else ''}"

    @property
    def elements(self) -> int:
        rows, columns = map(int, self.size.split("x"))
        return rows * columns


def parse(name: str) -> tuple[Group, str]:
    """Group and implementation of kernel/implementation/storage/BxD/threads[/cold]."""
    kernel, implementation, storage, size, threads, *cold = name.split("/")
    return Group(kernel, storage, size, int(threads), cold == ["cold"]), implementation


def commit(root: Path) -> str:
    try:
        return subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def times(results: dict) -> tuple[dict[Group, dict[str, list[float]]], list[str]]:
    """Seconds of each repetition, by group and implementation; and what went wrong."""
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
    seconds: dict[Group, dict[str, dict[int, float]]] = {}
    errors = set()
    for entry in results["benchmarks"]:
        if entry.get("error_occurred"):
            errors.add(f"{entry['name']}: {entry['error_message']}")
        elif entry["run_type"] == "iteration":
            group, who = parse(entry["run_name"])
            by_repetition = seconds.setdefault(group, {}).setdefault(who, {})
            by_repetition[entry["repetition_index"]] = entry["real_time"] * units[entry["time_unit"]]
    ordered = {group: {who: [t for _, t in sorted(found.items())] for who, found in all_found.items()}
               for group, all_found in seconds.items()}
    return ordered, sorted(errors)


def ratios(group: dict[str, list[float]]) -> Ratios:
    """time(peer) / time(tempflow), repetition by repetition."""
    return {who: [theirs / ours for theirs, ours in zip(measured, group[US])]
            for who, measured in group.items() if who != US and US in group}


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    return f"{value:.3g}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def disturbed(context: dict, group: Group) -> bool:
    """Whether other programs used processors while a group ran."""
    return context["other work"].get(str(group), 0.0) > QUIET


def state(context: dict, group: Group) -> str:
    return ("cold" if group.cold else "hot") + (" †" if disturbed(context, group) else "")


def kernel_table(kernel: str, measured: dict[Group, dict[str, list[float]]], context: dict) -> str:
    groups = [group for group in measured if group.kernel == kernel]
    known = PEERS + OTHERS
    columns = sorted({who for group in groups for who in measured[group]} - {US},
                     key=lambda who: (known.index(who) if who in known else len(known), who))
    rows = []
    for group in groups:
        ours = measured[group].get(US)
        found = ratios(measured[group])
        rows.append([group.storage, group.size, str(group.threads), state(context, group),
                     number(statistics.median(ours) * 1e9 / group.elements) if ours else "",
                     *(f"×{number(statistics.median(found[who]))}" if who in found else "" for who in columns)])
    return table(["storage", "size", "threads", "", "tempflow, ns/element", *columns], rows)


def fits(wanted: str, actual: str) -> bool:
    return wanted in ("any", actual)


def verdicts(measured: dict[Group, dict[str, list[float]]], context: dict) -> Iterator[list[str]]:
    """A row for each target and each hot group that it speaks of."""
    with TARGETS.open(newline="") as file:
        targets = list(csv.DictReader(file))
    for target in targets:
        for group, found in measured.items():
            applies = (not group.cold and group.kernel == target["kernel"] and group.storage == target["storage"]
                       and fits(target["size"], group.size)
                       and (target["size"] != "any" or group.size in ("24x65536", "6x262144"))
                       and fits(target["threads"], "one" if group.threads == 1 else "all")
                       and fits(target["instruction set"], context["instruction set"]))
            values = ratios(found).get(target["peer"]) if applies else None
            if not values:
                continue
            middle, low, high = statistics.median(values), min(values), max(values)
            verdict = ("aim reached" if middle >= float(target["aim"]) else
                       "reached" if middle >= float(target["at least"]) else "**missed**")
            yield [group.kernel, group.storage, group.size, str(group.threads), target["peer"], target["at least"],
                   target["aim"], number(middle), f"{number(low)} to {number(high)}",
                   verdict + (" †" if disturbed(context, group) else "")]


def conditions(context: dict) -> str:
    """What the numbers depend on."""
    peers = {key.removeprefix("peer "): value for key, value in context.items() if key.startswith("peer ")}
    missing = {who: "not found, not measured" for who in PEERS if who not in peers}
    environment = " ".join(f"{key}={value}" for key, value in context["environment"].items())
    lines = [f"commit {context['commit']}, {context['date']}",
             f"{context['cpu']}, {context['num_cpus']} processors, last-level cache {context['last-level cache']}, "
             f"instruction set {context['instruction set']}",
             f"{context['compiler']}; tempflow at plain -O2",
             f"environment: {environment}",
             f"{context['repetitions']} repetitions, interleaved at random",
             *(f"{who}: {about}" for who, about in sorted((peers | missing).items()))]
    return "".join(f"- {line}\n" for line in lines)


def summary(results: dict) -> tuple[str, list[str]]:
    """The text of summary.md, and what went wrong."""
    context = results["context"]
    measured, errors = times(results)
    text = ["# Benchmarks\n", conditions(context)]
    loud = sum(disturbed(context, group) for group in measured)
    if loud:
        text.append(f"**Other programs took more than {QUIET:.0%} of a processor during {loud} of {len(measured)} "
                    "groups, marked †: do not trust those.**\n")
    if errors:
        text.append("## Wrong answers, not measured\n\n" + "".join(f"- {error}\n" for error in errors))
    text.append("## Targets\n\nTimes of a peer over tempflow's: median, and the range of the repetitions. Hot.\n\n" +
                table(["kernel", "storage", "size", "threads", "peer", "at least", "aim", "ratio", "range", ""],
                      list(verdicts(measured, context))))
    if context["compile time"]:
        rows = [[one["compiler"], "failed" if one["seconds"] is None else f"{one['seconds']:.2f}", str(one["below"]),
                 "reached" if (one["seconds"] or one["below"]) < one["below"] else "**missed**"]
                for one in context["compile time"]]
        text.append("User time of `-std=c++20 -O2 -c` of a file that includes `tempflow/tempflow.hpp`, best of 5:\n\n" +
                    table(["compiler", "seconds", "below", ""], rows))
    text.append("## Kernels\n\nTime of a peer over tempflow's at the same threads (×2: tempflow takes half the time), "
                "median of the repetitions' ratios. For `roof`, which moves the same bytes and computes nothing, ×0.8 "
                "means that tempflow runs at 80 % of what the memory allows. Nanoseconds depend on the machine and its "
                "mood: compare ratios, not these.\n")
    for kernel in dict.fromkeys(group.kernel for group in measured):
        text.append(f"### {kernel}\n\n" + kernel_table(kernel, measured, context))
    return "\n".join(text), errors
