# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Times of the CUDA benchmark as tables of ratios, and which targets (targets.csv) they reach.

results: {"context": {}, "us": {name: [[microseconds of a round's repetitions], ...]}, "bytes": {group: number},
"memory" and "error64": {name without state: number}, "errors": {name: text}, "skipped": {what: reason}}; names are
kernel/who/storage/BxD/state.
"""

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from report import number, table

TARGETS = Path(__file__).with_name("targets.csv")
US = "tempflow"
COPIES = ["copy_kernel", "copy_memcpy"]
PEERS = ["torch_eager", "torch_compile"]
LAUNCHES = "4x65536"  # small enough for its time in a graph to be that of a launch

# medians of the rounds
Rounds = list[float]


@dataclass(frozen=True)
class Group:
    """What is measured, but for who does it."""
    kernel: str
    storage: str
    size: str
    state: str

    def __str__(self) -> str:
        return f"{self.kernel}/{self.storage}/{self.size}/{self.state}"

    @property
    def data(self) -> tuple[str, str, str]:
        """What all states share."""
        return self.kernel, self.storage, self.size


def parse(name: str) -> tuple[Group, str]:
    kernel, who, storage, size, state = name.split("/")
    return Group(kernel, storage, size, state), who


def medians(results: dict) -> dict[Group, dict[str, Rounds]]:
    """By group and who; the faster of the copies is `copy`."""
    found: dict[Group, dict[str, Rounds]] = {}
    for name, rounds in results["us"].items():
        group, who = parse(name)
        found.setdefault(group, {})[who] = [statistics.median(one) for one in rounds]
    for measured in found.values():
        copies = [measured[who] for who in COPIES if who in measured]
        if copies:
            measured["copy"] = min(copies, key=statistics.median)
    return found


def ratios(measured: dict[str, Rounds], who: str) -> list[float]:
    """time(who) / time(tempflow), round by round."""
    return [theirs / ours for theirs, ours in zip(measured.get(who, []), measured.get(US, []))]


def applies(target: dict[str, str], group: Group, size: int, l2: int) -> bool:
    if target["kernel"] != group.kernel:
        return False
    if target["against"] == "10 us":
        return group.state == "graph" and group.size == LAUNCHES
    return group.state == "cold" and (target["against"] != "copy" or size > l2)


def targets() -> list[dict[str, str]]:
    with TARGETS.open(newline="") as file:
        return list(csv.DictReader(file))


def reached(target: dict[str, str], results: dict, found: dict[Group, dict[str, Rounds]]) -> dict[Group, list[float]]:
    """What each group that a target speaks of came to, round by round."""
    values = {}
    for group, measured in found.items():
        if applies(target, group, results["bytes"].get(str(group), 0), results["context"]["L2 bytes"]):
            values[group] = ([10 / ours for ours in measured.get(US, [])] if target["against"] == "10 us" else
                             ratios(measured, target["against"]))
    return {group: rounds for group, rounds in values.items() if rounds}


def verdict(target: dict[str, str], value: float) -> str:
    return ("aim met" if value >= float(target["aim"]) else
            "met" if value >= float(target["at least"]) else "**missed**")


def verdicts(results: dict, found: dict[Group, dict[str, Rounds]]) -> Iterator[list[str]]:
    """A row for each target and each group that it speaks of."""
    for target in targets():
        for group, values in reached(target, results, found).items():
            middle = statistics.median(values)
            yield [group.kernel, group.storage, group.size, group.state, target["against"], target["at least"],
                   target["aim"], number(middle), f"{number(min(values))} to {number(max(values))}",
                   verdict(target, middle)]


def kernel_table(kernel: str, results: dict, found: dict[Group, dict[str, Rounds]]) -> str:
    rows = []
    for group, measured in found.items():
        if group.kernel != kernel:
            continue
        ours = measured.get(US)
        time = statistics.median(ours) if ours else None
        share, size = ratios(measured, "copy"), results["bytes"].get(str(group))
        rows.append([group.storage, group.size, group.state, number(time) if time else "",
                     number(size / time / 1e3) if size and time else "",
                     f"{statistics.median(share):.0%}" if share else "",
                     *(f"×{number(statistics.median(theirs))}" if (theirs := ratios(measured, who)) else ""
                       for who in PEERS)])
    return table(["storage", "size", "", "µs", "GB/s", "of the copy", *PEERS], rows)


SIDE_BY_SIDE = ("tempflow / PyTorch eager / torch.compile, cold. `of the copy`: the share of a copy's bandwidth, each input "
                "and output counted once. `memory`: what a call takes on the device beside its inputs, at its peak. `error`: "
                "against the formula in double, of gradients |difference| / |exact|, of log-probs the largest difference.")


def side_by_side(results: dict, found: dict[Group, dict[str, Rounds]]) -> str:
    """One table of all kernels, with what implementations are usually compared by."""
    rows = []
    for group, measured in found.items():
        if group.state != "cold":
            continue
        times = {who: statistics.median(rounds) for who, rounds in measured.items()}
        shares = {who: times["copy"] / time for who, time in times.items() if "copy" in times}
        told = {what: {who: results[what].get(f"{group.kernel}/{who}/{group.storage}/{group.size}") for who in times}
                for what in ("memory", "error64")}
        rows.append([group.kernel, group.storage, group.size, number(times["copy"] / 1000) if "copy" in times else "",
                     each(times, lambda us: number(us / 1000)), each(shares, "{:.0%}".format),
                     each(told["memory"], lambda count: number(count / 2**20)), each(told["error64"], "{:.1e}".format)])
    return table(["kernel", "storage", "size", "copy, ms", "ms", "of the copy", "memory, MiB", "error"], rows)


def each(values: dict[str, float | None], text: Callable[[float], str]) -> str:
    """tempflow's value and its peers', – where there is none."""
    return " / ".join("–" if values.get(who) is None else text(values[who]) for who in [US, *PEERS])


def summary(results: dict) -> str:
    """The text of summary.md."""
    found = medians(results)
    skipped = {who: f"not measured: {reason}" for who, reason in results["skipped"].items()}
    text = ["# CUDA benchmarks\n",
            "".join(f"- {key}: {value}\n" for key, value in (results["context"] | skipped).items())]
    if results["errors"]:
        text.append("## Errors, not measured\n\n" + "".join(f"- {name}: {what}\n"
                                                            for name, what in results["errors"].items()))
    text.append("## Targets\n\nAgainst `copy`: share of the bandwidth of a copy of as many bytes, cold, for data "
                "larger than L2. Against torch: its time over tempflow's, cold. Against 10 µs: that over tempflow's time, in "
                f"a graph, {LAUNCHES}. Medians of the rounds, and their range.\n\n" +
                table(["kernel", "storage", "size", "", "against", "at least", "aim", "measured", "range", ""],
                      list(verdicts(results, found))))
    text.append("## Side by side\n\n" + SIDE_BY_SIDE + "\n\n" + side_by_side(results, found))
    text.append("## Kernels\n\n`cold`: after L2 was flushed; `hot`: on the same buffers again; `stream`: as fast as "
                "the host makes the calls; `graph`: one of twenty in a graph. A copy reads half of the bytes and writes "
                "half, so a kernel that mostly reads may be faster. ×2 means that tempflow takes half the time.\n")
    for kernel in dict.fromkeys(group.kernel for group in found):
        text.append(f"### {kernel}\n\n" + kernel_table(kernel, results, found))
    return "\n".join(text)
