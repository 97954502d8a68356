# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Changes one line of the library at a time, and sees whether a test fails.

table.txt, beside this file, lists the changes. Each is applied to a copy of include/; the tests named with it are built
against the copy and run, one after the other until one fails. A change that no test notices is a survivor: either
the tests lack something, or the line does. Before that, the tests are built and run without any change (--trust: they
have just passed).

  python3 tests/mutants/run.py                        all of them: a quarter of an hour of two cores, or more
  python3 tests/mutants/run.py --only noise,unit/ema  those whose header, reason or tests hold one of the words
  python3 tests/mutants/run.py --check                builds nothing: does each change still apply?

Exit status: 0 if all were noticed (or apply), 1 if not, 2 for a table that makes no sense.

An entry of the table:

  @ core/noise.hpp: prompt and seed exchanged in the counter -> unit/noise_layout
  - id.seed,
  + id.prompt,

A header is named by the end of its path, as much of it as tells it apart, so the table survives when folders move.
The lines of '-' must stand exactly once in the headers of that name, and give way to those of '+'. The tests are
files below tests/, by commas; '+thread' behind one builds it with the thread sanitizer, which finds races of kernels.
Name the fewest and smallest files that should notice.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HEAD = re.compile(r"@ (?P<header>\S+): (?P<why>.+) -> (?P<tests>\S+)$")
FLAGS = ["-std=c++20", "-DTEMPFLOW_TEST_INSTANTIATES", "-O0", f"-I{ROOT}/tests", f'-DTEMPFLOW_TEST_DATA="{ROOT}/tests/data"', "-pthread"]
LONGEST_RUN = 300  # seconds, after which a program counts as hanging: noticed


@dataclass
class Mutant:
    header: str
    why: str
    tests: list
    old: list = field(default_factory=list)
    new: list = field(default_factory=list)

    def __str__(self):
        return f"{self.header}: {self.why}"


def read_table(text):
    mutants = []
    for number, line in enumerate(text.splitlines(), 1):
        if head := HEAD.match(line):
            mutants.append(Mutant(head["header"], head["why"], head["tests"].split(",")))
        elif mutants and line[:2] in ("- ", "+ "):
            (mutants[-1].old if line[0] == "-" else mutants[-1].new).append(line[2:])
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"table.txt:{number}: neither an entry's head, '- ', '+ ' nor '#': {line!r}")
    return mutants


def place_of(mutant, include):
    """The header, and its text with the change; or the reason why there is none."""
    old, new = "\n".join(mutant.old), "\n".join(mutant.new)
    named = [path for path in sorted(include.rglob("*.?*")) if f"/{path}".endswith(f"/{mutant.header}")]
    found = [(path, path.read_text()) for path in named if old in path.read_text()]
    count = sum(text.count(old) for _, text in found)
    if not old or old == new:
        return None, None, "changes nothing"
    if not named:
        return None, None, "there is no such header"
    if count != 1:
        return None, None, f"its text is there {count} times, must be once: {old!r}"
    path, text = found[0]
    return path.relative_to(include), text.replace(old, new), None


def problems(mutants, include):
    for mutant in mutants:
        if reason := place_of(mutant, include)[2]:
            yield f"{mutant}: {reason}"
        for test in mutant.tests:
            if not (ROOT / "tests" / f"{test.removesuffix('+thread')}.cpp").exists():
                yield f"{mutant}: there is no tests/{test}.cpp"


def call(command, limit=None):
    """Whether it succeeded, and what it said. A program that hangs did not."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit)
        return done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired:
        return False, "hangs"


def build(compiler, test, include, program, runner):
    source, _, sanitizer = test.partition("+")
    flags = FLAGS + ([f"-fsanitize={sanitizer}"] if sanitizer else [])
    return call([compiler, *flags, f"-I{include}", f"{ROOT}/tests/{source}.cpp", str(runner), "-o", str(program)])


def judge(compiler, mutant, folder, runner):
    """'noticed', 'survives' or 'does not compile', and which test said so."""
    include = folder / "include"
    shutil.copytree(ROOT / "include", include)
    path, text, _ = place_of(mutant, include)
    (include / path).write_text(text)
    try:
        for test in mutant.tests:
            built, said = build(compiler, test, include, folder / "test", runner)
            if not built:
                asserted = "static assertion" in said or "static_assert" in said
                return ("noticed", test) if asserted else ("does not compile", said)
            if not call([str(folder / "test")], LONGEST_RUN)[0]:
                return "noticed", test
        return "survives", ",".join(mutant.tests)
    finally:
        shutil.rmtree(folder)


def self_test():
    table = "# a\n\n@ core/a.hpp: why not -> unit/a,unit/b+thread\n- x\n-   y\n+ z\n"
    (mutant,) = read_table(table)
    assert (mutant.header, mutant.why, mutant.tests) == ("core/a.hpp", "why not", ["unit/a", "unit/b+thread"])
    with tempfile.TemporaryDirectory() as folder:
        include = Path(folder)
        (include / "core").mkdir()
        for text, applies in (("ax\n  yb", True), ("x\n  y x\n  y", False), ("x y", False)):
            (include / "core/a.hpp").write_text(text)
            path, changed, reason = place_of(mutant, include)
            assert (reason is None) == applies and (not applies or (str(path), changed) == ("core/a.hpp", "azb"))
        assert place_of(Mutant("b.hpp", "", [], ["x"]), include)[2] == "there is no such header"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only see whether each change applies")
    parser.add_argument("--trust", action="store_true", help="do not try the tests without any change before")
    parser.add_argument("--only", metavar="WORDS", help="words, by commas, of which an entry must hold one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="builds at once (default: %(default)s)")
    parser.add_argument("--compiler", default=os.environ.get("CXX", "g++"), help="default: $CXX, or g++")
    options = parser.parse_args()
    self_test()
    try:
        mutants = read_table((HERE / "table.txt").read_text())
    except ValueError as error:
        print(error)
        return 2
    if options.only:
        words = options.only.split(",")
        mutants = [m for m in mutants if any(word in f"{m} {','.join(m.tests)}" for word in words)]
    wrong = [*problems(mutants, ROOT / "include")]
    print(*wrong, f"{len(mutants)} mutants, {len(wrong)} problems", sep="\n")
    if wrong or options.check or not mutants:
        return 1 if wrong or not mutants else 0

    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        scratch, runner = Path(scratch), Path(scratch) / "main.o"
        built, said = call([options.compiler, *FLAGS, "-r", "-nostdlib", f"{ROOT}/tests/support/main.cpp", f"{ROOT}/tests/support/runner.cpp",
                             "-o", str(runner)])
        if not built:
            print(said)
            return 2
        tests = sorted({test for mutant in mutants for test in mutant.tests})

        def unchanged(test):
            program = scratch / test.replace("/", "_")
            built, said = build(options.compiler, test, ROOT / "include", program, runner)
            passed, said = call([str(program)], LONGEST_RUN) if built else (False, said)
            program.unlink(missing_ok=True)
            return test, passed, said

        if not options.trust:
            print(f"{len(tests)} tests without any change:", flush=True)
            for test, passed, said in pool.map(unchanged, tests):
                print(f"  {test}: {'passes' if passed else said}", flush=True)
                if not passed:
                    return 2

        print(f"{len(mutants)} mutants, {options.jobs} at once:", flush=True)
        begun = time.monotonic()
        running = {pool.submit(judge, options.compiler, mutant, scratch / str(i), runner): mutant
                   for i, mutant in enumerate(mutants)}
        bad = []
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            verdict, said = future.result()
            left = (time.monotonic() - begun) / done * (len(mutants) - done) / 60
            place = f"[{done}/{len(mutants)}, {left:.0f} min left]"
            print(f"{place} {verdict}: {running[future]} ({said[-2000:]})", flush=True)
            if verdict != "noticed":
                bad.append(f"{verdict}: {running[future]}")
    print(*sorted(bad), f"{len(mutants) - len(bad)} of {len(mutants)} mutants noticed", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
