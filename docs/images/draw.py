#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Draws the diagrams of the documentation from the library's own tables: docs/images/draw.py PROGRAM [--check]

PROGRAM is tables.cpp, built (build/release/tests/example/docs_tables). With --check nothing is written; says what is stale.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.note { fill: #59636e }
.mono { font-family: ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono", monospace; font-size: 12px }
.card { fill: #ffffff; stroke: #d1d9e0 }
.ode { stroke: #57606a; fill: none; stroke-width: 1.5 }
.trunk { stroke: #0969da; fill: none; stroke-width: 3 }
.draw { stroke: #bc4c00; fill: none; stroke-width: 1.5; stroke-dasharray: 5 3 }
.state { fill: #ffffff; stroke: #57606a; stroke-width: 1.5 }
.trunk-state { fill: #0969da }
.sample { fill: #1a7f37 }
.call { fill: #ddf4ff; stroke: #0969da }
.row { fill: #57606a }
.trunk-row { fill: #0969da }
.box { fill: #f6f8fa; stroke: #57606a }
.arrow { stroke: #57606a; fill: none; stroke-width: 1.5 }
.head { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .card { fill: #0d1117; stroke: #3d444d }
  .ode, .arrow { stroke: #9198a1 }
  .trunk { stroke: #4493f8 }
  .draw { stroke: #f0883e }
  .state { fill: #0d1117; stroke: #9198a1 }
  .trunk-state, .trunk-row { fill: #4493f8 }
  .sample { fill: #3fb950 }
  .call { fill: #121d2f; stroke: #4493f8 }
  .row, .head { fill: #9198a1 }
  .box { fill: #151b23; stroke: #9198a1 }
}
"""


class Picture:
    def __init__(self, width, height, description):
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
            "<!-- SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors -->",
            "<!-- SPDX-License-Identifier: Apache-2.0 -->",
            "<!-- Made by docs/images/draw.py. -->",
            f"<title>{description}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def text(self, x, y, text, kind="", anchor="start"):
        self.lines.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>')

    def line(self, kind, *points):
        self.lines.append(f'<polyline class="{kind}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>')

    def dot(self, kind, x, y, radius=5):
        self.lines.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{radius}"/>')

    def box(self, kind, x, y, width, height, radius=4):
        self.lines.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}"/>')

    def arrow(self, *points):
        self.line("arrow", *points)
        (x0, y0), (x, y) = points[-2:]
        length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
        u, w = (x - x0) / length, (y - y0) / length
        corners = [(x, y), (x - 8 * u - 4 * w, y - 8 * w + 4 * u), (x - 8 * u + 4 * w, y - 8 * w - 4 * u)]
        self.lines.append(f'<polygon class="head" points="{" ".join(f"{a:.4g},{b:.4g}" for a, b in corners)}"/>')

    def __str__(self):
        return "\n".join(self.lines) + "\n</svg>\n"


def lanes(nodes):
    """For each node the lanes of its states, from the top: the trunk's, then those of the latest branches."""
    branches = [i for i, node in enumerate(nodes) if node["move"] == "draw"]
    of, free = {}, 1
    for i in sorted(branches, key=lambda i: -nodes[i]["knot"]):
        of[i] = list(range(free, free + nodes[i]["states"]))
        free += nodes[i]["states"]
    for i, node in enumerate(nodes):
        if i not in of:
            of[i] = of[node["parent"]] if node["parent"] >= 0 else [0]
    return of, free


def forest(tables):
    nodes, sigmas, cost = tables["nodes"], tables["sigmas"], tables["cost"]
    of, count = lanes(nodes)
    explorations = next(node["states"] for node in nodes if node["move"] == "draw")
    picture = Picture(780, 92 + 24 * count + 66, "A forest: a trunk, explorations at each step, completions")
    x, y = (lambda knot: 120 + 116 * knot), (lambda lane: 92 + 24 * lane)
    for knot, sigma in enumerate(sigmas):
        picture.text(x(knot), 34, f"knot {knot}", anchor="middle")
        picture.text(x(knot), 52, f"σ = {sigma:.2f}", "note", "middle")
    for i, node in enumerate(nodes):
        if node["move"] == "start":
            continue
        parent = nodes[node["parent"]]
        for k, lane in enumerate(of[i]):
            start = of[node["parent"]][k if node["states"] == parent["states"] else 0]
            kind = "draw" if node["move"] == "draw" else "trunk" if lane == 0 else "ode"
            picture.line(kind, (x(parent["knot"]), y(start)), (x(node["knot"]), y(lane)))
    for i, node in enumerate(nodes):
        for lane in of[i]:
            kind = "sample" if node["finished"] else "trunk-state" if lane == 0 else "state"
            picture.dot(kind, x(node["knot"]), y(lane))
    picture.text(x(0) - 16, y(0) + 4, "initial noise", anchor="end")
    bottom = y(count) + 22
    entries = [("trunk", "trunk: the ODE of a seed"), ("draw", f"explorations of a step: K = {explorations}"),
               ("ode", "completion by the ODE")]
    for place, (kind, label) in enumerate(entries):
        left = (28, 244, 480)[place]
        picture.line(kind, (left, bottom - 4), (left + 30, bottom - 4))
        picture.text(left + 38, bottom, label)
    picture.dot("sample", 694, bottom - 4)
    picture.text(706, bottom, "sample")
    credit = "samples, and the reward of each credits the one step that drew noise."
    picture.text(28, bottom + 24, f"{cost['rows']} {credit}", "note")
    return picture


def wavefront(tables):
    nodes, calls, cost = tables["nodes"], tables["calls"], tables["cost"]
    of, count = lanes(nodes)
    picture = Picture(780, 92 + 20 * count + 70, "The wavefront: all states at a noise level share a call of the model")
    x, y = (lambda call: 196 + 118 * call), (lambda lane: 96 + 20 * lane)
    evaluated = [set() for _ in calls["rows"]]
    for i, node in enumerate(nodes):
        if any(other["parent"] == i for other in nodes):
            evaluated[node["knot"]].update(of[i])
    for call, rows in enumerate(calls["rows"]):
        assert len(evaluated[call]) == rows, "the model has seen other rows"
        picture.box("call", x(call) - 36, 66, 72, 20 * count + 14)
        picture.text(x(call), 34, f"call {call + 1}", anchor="middle")
        picture.text(x(call), 52, f"σ = {calls['sigmas'][call]:.2f}", "note", "middle")
        for lane in evaluated[call]:
            picture.box("trunk-row" if lane == 0 else "row", x(call) - 26, y(lane) - 5 - 8, 52, 12, 2)
        picture.text(x(call), y(count) + 8, f"{rows} row{'s' if rows > 1 else ''}", anchor="middle")
    picture.text(28, y(0) - 3, "trunk")
    for i, node in enumerate(nodes):
        if node["move"] == "draw":
            picture.text(28, y(of[i][1]) - 3, f"branches of step {node['knot'] - 1}")
    bottom = y(count) + 40
    together = f"{cost['evaluations']} evaluations in {cost['calls']} calls."
    apart = f"Step after step, as published, they take {cost['sequential_calls']} calls."
    picture.text(28, bottom, f"{together} {apart}", "note")
    return picture


def siblings(tables):
    offsets, steps, cost = tables["batch"]["offsets"], tables["batch"]["row_steps"], tables["cost"]
    states, rows = len(offsets) - 1, offsets[-1]
    picture = Picture(780, 96 + 22 * rows + 52, "Siblings share a forward and a backward pass: those of their state")
    row_y = [96 + 22 * r + 6 * sum(1 for o in offsets[1:-1] if o <= r) for r in range(rows)]
    for left, width, label, under in (
        (28, 132, "x", f"{states} states"),
        (224, 132, "v", f"{states} velocities"),
        (446, 132, "y", f"{rows} transitions"),
        (642, 110, "dL/dv", f"{states} gradients"),
    ):
        picture.text(left + width / 2, 34, label, "title", "middle")
        picture.text(left + width / 2, 54, under, "note", "middle")
    for s in range(states):
        own = range(offsets[s], offsets[s + 1])
        middle = sum(row_y[r] for r in own) / len(own)
        picture.box("box", 28, middle - 14, 132, 28)
        picture.text(94, middle + 4, f"state of step {steps[own[0]]}", anchor="middle")
        picture.arrow((160, middle), (222, middle))
        picture.box("call", 224, middle - 14, 132, 28)
        picture.text(290, middle + 4, f"v(x, σ{'₀₁₂₃₄₅₆₇₈₉'[steps[own[0]]]})", anchor="middle")
        for k, r in enumerate(own):
            picture.line("draw", (356, middle), (446, row_y[r]))
            picture.box("box", 446, row_y[r] - 9, 132, 18, 3)
            picture.text(512, row_y[r] + 4, f"sibling {k}", "mono", "middle")
            picture.line("arrow", (578, row_y[r]), (606, middle))
        picture.arrow((606, middle), (640, middle))
        picture.box("call", 642, middle - 14, 110, 28)
        picture.text(697, middle + 4, "their sum", anchor="middle")
    picture.text(191, 74, "forward", "note", "middle")
    picture.text(401, 74, "noise", "note", "middle")
    picture.text(610, 74, "loss", "note", "middle")
    bottom = row_y[-1] + 42
    seen = f"The model sees {cost['states']} rows in an epoch, not {cost['rows']}:"
    picture.text(28, bottom, f"{seen} offsets say which transitions leave which state.", "note")
    return picture


def main():
    program, *options = sys.argv[1:]
    tables = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    stale = 0
    for name, picture in {"forest": forest, "wavefront": wavefront, "siblings": siblings}.items():
        path, drawn = HERE / f"{name}.svg", str(picture(tables))
        if "--check" not in options:
            path.write_text(drawn)
        elif not path.exists() or path.read_text() != drawn:
            stale += 1
            print(f"{path.name} is not what the tables make: docs/images/draw.py PROGRAM")
    print(f"diagrams: {stale} stale")
    return 1 if stale else 0


sys.exit(main())
