# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation's rules: public entities have a docstring, links lead somewhere, files are quoted as they are.

A Markdown code block after a line `<!-- from PATH -->` must occur in that file, word for word. docs/README.md lists all pages.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DETAIL = re.compile(r"^namespace (\S*detail) \{.*?^\}  // namespace \1$", re.M | re.S)
# A line at namespace scope that begins an entity, after a blank line or the opening of a namespace.
BARE = re.compile(r"^(?:|namespace .*\{)\n((?!namespace|static_assert|extern|TEMPFLOW_NEEDS_BACKEND)\w[^\n]*|\[\[[^\n]*)$", re.M)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
CODE = re.compile(r"^```.*?^```|`(?:[^`\n]|\n(?!\n))+`", re.M | re.S)  # no links there: a C++ lambda looks like one
QUOTE = re.compile(r"^<!-- from (\S+) -->\n+```\w*\n(.*?)^```", re.M | re.S)


def undocumented(header):
    return [f"no docstring: {line}" for line in BARE.findall(DETAIL.sub("", header))]


def broken(page, read, exists):
    links = [f"dead link: {link}" for link in LINK.findall(CODE.sub("", page)) if not exists(link)]
    return links + [f"not as in {path}: {text[:60]!r}" for path, text in QUOTE.findall(page) if text not in read(path)]


def self_test():
    assert not undocumented("namespace a {\n\n/// What.\nint f();\nint f(int);\n\n}  // namespace a\n")
    assert not undocumented("namespace detail {\n\nint f();\n\n}  // namespace detail\n")
    assert undocumented("namespace a {\n\nint f();\n") and undocumented("namespace a {\nint f();\n")
    page = "[a](b.md) [c](https://d)\n<!-- from e.cpp -->\n```cpp\nint f();\n```\n"
    assert not broken(page, lambda path: "int f();\nint g();\n", lambda link: True)
    assert len(broken(page, lambda path: "int g();\n", lambda link: False)) == 2
    assert not broken("```cpp\n[](options& o) {}\n```\n`[](auto x) {}`\n", lambda path: "", lambda link: False)
    assert broken("[`a`](b.md)", lambda path: "", lambda link: False)


self_test()
found = []
for header in sorted((ROOT / "include").rglob("*.?*")):
    if header.is_file():
        found += [f"{header.relative_to(ROOT)}: {problem}" for problem in undocumented(header.read_text())]
for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]:
    problems = broken(page.read_text(), lambda path: (ROOT / path).read_text(), lambda link: (page.parent / link).exists())
    found += [f"{page.relative_to(ROOT)}: {problem}" for problem in problems]
listed = {(ROOT / "docs" / link).resolve() for link in LINK.findall((ROOT / "docs/README.md").read_text())}
pages = {path.resolve() for path in ROOT.glob("docs/**/*.md")} - {ROOT / "docs/README.md"}
found += [f"docs/README.md: does not list {page.relative_to(ROOT)}" for page in sorted(pages - listed)]
print(*found, f"docs: {len(found)} problems", sep="\n")
sys.exit(bool(found))
