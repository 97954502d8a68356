# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a soak found: a table of lives, and memory over time."""

import subprocess
from collections import Counter, defaultdict
from statistics import mean, median

MIB = 2**20


def steady(life) -> list[tuple]:
    """Samples of an undisturbed life after its first tenth of fine-tuning."""
    began = next((t for t, line in life.lines if line.startswith("update    0")), 0)
    end = life.samples[-1][0]
    return [s for s in life.samples if s[0] > began + (end - began) / 10]


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line of least squares."""
    x0, y0 = mean(x for x, _ in points), mean(y for _, y in points)
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)


def table(soak) -> str:
    """A row for each disturbance: how often, and how its lives ended."""
    by, ends = defaultdict(list), defaultdict(Counter)
    for event in soak.events:
        by[event["disturbance"]].append(event)
        what = event["outcome"].split(" in ")[0]
        ends[event["disturbance"]][what] += 1
    lines = ["| disturbance | lives | how they ended |", "|---|---|---|"]
    for name, events in sorted(by.items(), key=lambda pair: -len(pair[1])):
        told = ", ".join(f"{n} {what}" for what, n in ends[name].most_common())
        lines.append(f"| {name.replace('_', ' ')} | {len(events)} | {told} |")
    return "\n".join(lines)


def memory(soak, whole) -> str:
    calm = steady(whole)
    first, final = (mean(s[1] for s in part) / MIB for part in (calm[:len(calm) // 4], calm[-(len(calm) // 4):]))
    files = {s[2] for s in calm}
    updates = int(soak.rows[-1]["update"])
    seconds = calm[-1][0] - calm[0][0]
    rate = slope([(s[0], s[1] / 1024) for s in calm]) * seconds / (0.9 * updates)
    peaks = [max(s[1] for s in samples) / MIB for _, samples in soak.lives if samples]
    opened = [max(s[2] for s in samples) for _, samples in soak.lives if samples]
    return (f"Undisturbed, over {updates} updates in {seconds:.0f} s: {first:.1f} MiB in the first quarter, "
            f"{final:.1f} in the last (slope {rate:+.2f} KiB an update), open files {min(files)} to {max(files)}.\n"
            f"Disturbed: peaks of {len(peaks)} lives {min(peaks):.1f} to {max(peaks):.1f} MiB, median {median(peaks):.1f} "
            f"(undisturbed {max(s[1] for s in whole.samples) / MIB:.1f}); at most {max(opened)} open files.")


def summary(soak, whole, disk, failure: str) -> str:
    lives = len(soak.events)
    spent = sum(float(event["seconds"]) for event in soak.events) / 60
    text = [f"{lives} lives in {spent:.1f} minutes, {soak.finished} runs to their end; an undisturbed run takes "
            f"{whole.samples[-1][0]:.0f} s."]
    if failure:
        text.append(f"**Broken in life {lives + 1}: {failure}**")
    elif soak.finished:
        text.append(f"Every run has the undisturbed run's bits: {', '.join(name for name in soak.products)}.")
    if disk:
        text.append(f"The job's folder was a file system of its own ({disk.kind}).")
    else:
        text.append("Left out, as this system allows no mounts: a full disk, a read-only folder.")
    return "\n\n".join([*text, table(soak), *([memory(soak, whole)] if soak.lives else [])]) + "\n"


def draw_memory(soak, whole, picture) -> None:
    """Resident memory of all lives over time, by gnuplot."""
    def lines(start, samples):
        return "".join(f"{(start + t) / 60:.4f} {rss / MIB:.2f}\n" for t, rss, _ in samples[::4]) + "\n"
    script = (f"set terminal svg size 800,360 font 'sans,11'\nset output '{picture}'\nset key bottom right\n"
              "set grid lc rgb '#dddddd'\nset xlabel 'minutes'\nset ylabel 'resident memory, MiB'\nset yrange [0:]\n"
              f"$disturbed << end\n{''.join(lines(*life) for life in soak.lives)}end\n"
              f"$whole << end\n{lines(0, whole.samples)}end\n"
              "plot $disturbed with lines lc rgb '#4c72b0' title 'lives cut short', "
              "$whole with lines lw 2 lc rgb '#dd8452' title 'undisturbed'\n")
    try:
        subprocess.run(["gnuplot"], input=script, text=True, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{picture} is not drawn: {error}")
