# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a comparison: docs/comparison.md and its pictures."""

import shutil
import subprocess
from pathlib import Path

import curves
from methods import METHODS

PRICES = (0, 1, 5, 20)  # evaluations that a reward call costs
BASELINE = "flow"
NUMBERS = (("cost", "cost", 1e-3, "k"), ("model_evaluations", "evaluations", 1e-3, "k"), ("scored", "reward calls", 1e-3, "k"),
           ("cpu_seconds", "seconds", 1, ""), ("frechet", "Fréchet", 1, ""), ("diversity", "diversity", 1, ""))


class TaskReport:
    """What the runs of a task came to."""

    def __init__(self, runner, task, picked: dict, seeds) -> None:
        self.runner, self.task, self.picked, self.seeds = runner, task, picked, seeds
        for setting, _ in (recipe for of_price in picked.values() for recipe in of_price.values()):
            for seed in seeds:
                runner.curve(task, setting, seed)  # all are there

    def given(self, method: str, level: float, price: float = 0) -> list:
        """What the recipe of a method for a level gives on each seed; nothing where tuning found none."""
        if (method, level) not in self.picked[price]:
            return []
        setting, updates = self.picked[price][method, level]
        return [curves.at_update(self.runner.curve(self.task, setting, seed), updates) for seed in self.seeds]

    def table(self, level: float) -> list:
        numbers = ((self.task.column, self.task.column, 1, ""), *NUMBERS)
        lines = [f"| tuned for {self.task.column} {level} | " + " | ".join(head for _, head, _, _ in numbers) +
                 " | cost, of Flow-GRPO's |", "|---" * (len(numbers) + 2) + "|"]
        base = self.given(BASELINE, level)
        for method in METHODS:
            found = self.given(method.name, level)
            if not found:
                lines.append(f"| {method.title} | not reached in tuning |" + " |" * len(numbers))
                continue
            cells = []
            for name, _, scale, unit in numbers:
                mean, margin = curves.mean_and_margin([f[name] * scale for f in found])
                digits = 3 if name in (self.task.column, "diversity") else 2 if name == "frechet" else int(scale == 1 or mean < 10)
                varies = margin > 1e-9  # costs are the recipe's
                cells.append(f"{mean:.{digits}f}{unit}" + (f" ± {margin:.{digits}f}" if varies else ""))
            ratio = f"{sum(f['cost'] for f in found) / sum(f['cost'] for f in base):.2f}" if base else ""
            lines.append(f"| {method.title} | " + " | ".join(cells) + f" | {ratio} |")
        return lines

    def prices(self, level: float) -> list:
        lines = ["| a reward call costs | " + " | ".join(m.title for m in METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
        for price in PRICES:
            cells = []
            for method in METHODS:
                found = self.given(method.name, level, price)
                mean, _ = curves.mean_and_margin([(f["cost"] + price * f["scored"]) * 1e-3 for f in found])
                score, _ = curves.mean_and_margin([f[self.task.column] for f in found])
                cells.append(f"{mean:.0f}k ({score:.3f})" if found else "not reached")
            lines.append(f"| {price} evaluations | " + " | ".join(cells) + " |")
        return lines

    def settings(self) -> list:
        lines = ["| method | level | reward call | updates | setting (bold: at the edge of what was tried) |", "|---|---|---|---|---|"]
        for method in METHODS:
            tried = {name: sorted({float(choice[name]) for choice in method.tuning}) for name in method.tuning[0]}
            for level in self.task.levels:
                for price in PRICES if level == self.middle() else PRICES[:1]:
                    if (method.name, level) not in self.picked[price]:
                        continue
                    setting, updates = self.picked[price][method.name, level]
                    own = {name: setting[name] for name in tried}
                    texts = [f"**`{k} {v}`**" if len(tried[k]) > 2 and float(v) in (tried[k][0], tried[k][-1]) else f"`{k} {v}`"
                             for k, v in own.items()]
                    lines.append(f"| {method.title} | {level} | {price} | {updates:.0f} | " + " ".join(texts) + " |")
        return lines

    def middle(self) -> float:
        """The level of the picture and of the prices."""
        return self.task.levels[1]

    def draw(self, picture: Path) -> bool:
        """Curves of the settings chosen for a middle level: mean over seeds, against cost and seconds."""
        level = self.middle()
        data = picture.with_suffix(".dat")
        blocks, names = [], []
        for method in METHODS:
            setting, _ = self.picked[0].get((method.name, level), (None, 0))
            runs = [self.runner.curve(self.task, setting, seed) for seed in self.seeds] if setting else []
            runs = [run for run in runs if run]
            if not runs:
                continue
            names.append(method.title)
            rows = []
            for at in zip(*runs):
                mean = {name: sum(row[name] for row in at) / len(at) for name in curves.COLUMNS}
                low, high = min(row[self.task.column] for row in at), max(row[self.task.column] for row in at)
                rows.append(f"{mean['cost'] * 1e-3} {mean['cpu_seconds']} {mean[self.task.column]} {low} {high} {mean['frechet']}")
            blocks.append("\n".join(rows))
        if not names or shutil.which("gnuplot") is None:
            return False
        data.write_text("\n\n\n".join(blocks) + "\n")
        colours = ["#4c72b0", "#8cb0e0", "#c44e52", "#dd8452", "#937860"]

        def curves_of(x: int, y: int, band: bool) -> str:
            parts = []
            for i, name in enumerate(names):
                if band:
                    parts.append(f"'{data}' index {i} using {x}:4:5 with filledcurves fs transparent solid 0.15 lc rgb "
                                 f"'{colours[i]}' notitle")
                parts.append(f"'{data}' index {i} using {x}:{y} with linespoints lw 2 pt 7 ps 0.4 lc rgb '{colours[i]}' "
                             f"title '{name if x == 1 and band else ''}'")
            return "plot " + ", ".join(parts)

        title = self.task.column
        script = f"""set terminal pngcairo size 1400,600 font 'sans,11'
set output '{picture}'
set multiplot layout 1,3
set grid lc rgb '#dddddd'
set key at screen 0.5, 0.99 center top samplen 2
set tmargin 8
set ylabel '{title} (mean; band: all seeds)'
set xlabel 'cost: evaluations + 3 x trained states, thousands'
{curves_of(1, 3, True)}
unset key
set xlabel 'CPU seconds of updates'
{curves_of(2, 3, True)}
set xlabel '{title}'
set xtics rotate by 45 right
set ylabel 'Fréchet distance to test images'
{curves_of(3, 6, False)}
"""
        done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True)
        data.unlink()
        if done.returncode != 0:
            print(done.stderr)
        return done.returncode == 0


def report(reports: list, docs: Path, tuning_seeds, report_seeds) -> None:
    lines = ["<!-- SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors -->",
             "<!-- SPDX-License-Identifier: Apache-2.0 -->",
             "# Comparison of methods", "",
             "Written by `./dev compare` on the main job (examples/fashion_mnist). Each method has "
             f"{len(METHODS[0].tuning)} settings, tried on pre-training seed{'s' if len(tuning_seeds) > 1 else ''} "
             f"{', '.join(map(str, tuning_seeds))}. For each level that gives a recipe: the setting, and the number of updates, "
             "by which the mean of these seeds reached it at the least cost. The tables show what the recipes give on seeds "
             f"{', '.join(map(str, report_seeds))}, which tuning has not seen. *Cost*: rows that the rollouts give to the "
             "model + 3 x states trained on, a backward pass counted as two forward passes. *Seconds*: CPU time of "
             "updates, one thread; a KL's forward passes of the reference policy are in the seconds, not in the cost. "
             "Means over the seeds ± half of a 95 % interval (runs are evaluated every four updates; between evaluations by a "
             "straight line). Compare costs where the first columns agree: a recipe that did not hold up on new seeds is cheap "
             "for that.", ""]
    for r in reports:
        lines += [f"## {r.task.title[0].upper()}{r.task.title[1:]}", ""]
        if r.task.frechet_limit < float("inf"):
            lines += [f"In tuning only pictures within a Fréchet distance of {r.task.frechet_limit} count: with a weaker KL each "
                      "method reaches more of the judge, and leaves the data.", ""]
        picture = docs / "images" / f"comparison_{r.task.name}.png"
        if r.draw(picture):
            lines += [f"![curves](images/{picture.name})", ""]
        for level in r.task.levels:
            lines += [*r.table(level), ""]
        middle = r.middle()
        lines += [f"With reward calls in the cost, each method tuned for it and for {r.task.column} {middle} (in brackets: what it gave):", "", *r.prices(middle), "",
                  "<details><summary>Settings</summary>", "", *r.settings(), "", "</details>", ""]
    (docs / "comparison.md").write_text("\n".join(lines).rstrip() + "\n")
    print(f"report: {docs / 'comparison.md'}")
