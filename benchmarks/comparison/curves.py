# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of runs, and what it took them to reach a level."""

import csv
import math
import statistics
from pathlib import Path

COLUMNS = ("update", "reward", "judge", "diversity", "frechet", "model_evaluations", "trained_states", "cost",
           "scored", "cpu_seconds")

# Student's t for 95 %, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def read(path: Path) -> list:
    with open(path, newline="") as file:
        return [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]


def reach(curve, column: str, level: float, frechet_limit: float):
    """A curve's numbers when it first reached a level with pictures within the limit, between the two evaluations
    around it by a straight line; None if it did not."""
    def good(row):
        return row[column] >= level and row["frechet"] <= frechet_limit

    def crossing(before, after, name, limit):
        return 0.0 if before[name] == after[name] else (limit - before[name]) / (after[name] - before[name])

    if good(curve[0]):
        return curve[0]
    for before, after in zip(curve, curve[1:]):
        shares = [1.0 if good(after) else 2.0]
        for share in (crossing(before, after, column, level), crossing(before, after, "frechet", frechet_limit)):
            if 0 <= share < 1:
                shares.append(share)
        for share in sorted(shares):
            at = {name: before[name] + share * (after[name] - before[name]) for name in COLUMNS}
            slack = 1e-12 * max(1.0, abs(level))
            if share <= 1 and good({**at, column: at[column] + slack, "frechet": at["frechet"] - 1e-12}):
                return at
    return None


def mean(curves: list) -> list:
    """The mean of runs that were evaluated at the same updates."""
    return [{name: statistics.mean(row[name] for row in rows) for name in COLUMNS} for rows in zip(*curves)]


def at_update(curve, update: float):
    """A run's numbers after so many updates, between the two evaluations around it by a straight line."""
    for before, after in zip(curve, curve[1:]):
        if before["update"] <= update <= after["update"]:
            share = (update - before["update"]) / (after["update"] - before["update"])
            return {name: before[name] + share * (after[name] - before[name]) for name in COLUMNS}
    raise ValueError(f"a run of {curve[-1]['update']:.0f} updates has no update {update}")


def mean_and_margin(values: list):
    """Mean, and half the width of its 95 % interval."""
    if len(values) < 2:
        return (values[0] if values else math.nan), math.nan
    return statistics.mean(values), T_95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
