# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""docs/api.md lists every public name of the headers. Says what is stale; --write makes the page anew.

It relies on the headers' conventions: the code is formatted, a docstring is lines of `///` before the entity, and what is in
namespaces `detail` and folders detail/, host/ and kernels/ is nobody's to name.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
PAGE = ROOT / "docs/api.md"
DETAIL = re.compile(r"^namespace (\S*detail) \{.*?^\}  // namespace \1$", re.M | re.S)
STRING = re.compile(r"\"(?:\\.|[^\"])*\"|'(?:\\.|[^'])'|//.*")
NESTED = re.compile(r"^namespace (?!tempflow)(\S+) \{.*?^\}  // namespace \1$", re.M | re.S)
ENTITY = re.compile(r"((?:^///.*\n)+)((?:(?!///).+\n)+)", re.M)
KINDS = (  # what a declaration declares, first match
    ("macro", re.compile(r"#define (\w+)")),
    ("concept", re.compile(r"\bconcept (\w+)")),
    ("enum", re.compile(r"^enum class (\w+)")),
    ("class", re.compile(r"^class(?: \[\[[^]]*\]\]| [A-Z_]+)* (\w+)")),
    ("struct", re.compile(r"^struct(?: \[\[[^]]*\]\]| [A-Z_]+)* (\w+)")),
    ("alias", re.compile(r"^using (\w+)")),
    ("constant", re.compile(r"^inline constexpr [^(=]*?(\w+)(?:\{| =)")),
    ("function", re.compile(r"(operator[^\s\w(]+|\b(?!decltype\b)\w+)\(")),
)
# What a declaration may begin with.
BEFORE = re.compile(r"^(?:TEMPFLOW_\w+ |\[\[[^]]*\]\] |requires\b(?:[^\n]*?(?=TEMPFLOW_)|[^\n]*\n\s*))+")
ABBREVIATIONS = ("e.g.", "i.e.", "cf.", "etc.", "vs.")


def without_template(declaration):
    """The declaration behind its `template <...>`s."""
    while match := re.match(r"template\s*<", declaration):
        depth, at = 1, match.end()
        while depth:
            depth += {"<": 1, ">": -1}.get(declaration[at], 0)
            at += 1
        declaration = declaration[at:].lstrip()
    return BEFORE.sub("", declaration)


def first_sentence(docstring):
    """The first sentence of a docstring, of its first paragraph or up to what it lists."""
    text = re.sub(r"^///<? ?", "", docstring, flags=re.M).split("\n\n")[0]
    text = " ".join(text.split())
    for end in re.finditer(r"[.:](?= |$)", text):
        sentence = text[: end.end()]
        open_ = sum(map(sentence.count, "([")) - sum(map(sentence.count, ")]"))  # [0, 1) is an interval
        if sentence.endswith(ABBREVIATIONS) or open_ > 0 or sentence.count("`") % 2:
            continue
        if sentence.endswith(":") and end.end() < len(text):
            continue
        return re.sub(r":$", ".", sentence)
    return text


def declarations(block):
    """The declarations of some lines without a blank one between them, each up to its end."""
    declaration, depth = "", 0
    for line in block.splitlines(keepends=True):
        declaration += line
        code = STRING.sub("", line)
        depth += sum(map(code.count, "({")) - sum(map(code.count, ")}"))
        if depth == 0 and line.rstrip().endswith((";", "}")) and without_template(declaration):
            yield declaration
            declaration = ""
    if declaration:
        yield declaration


def entities(header):
    """(kind, name, first sentence) of each public name, in the order of the text."""
    header = DETAIL.sub("", header)
    nested = list(NESTED.finditer(header))
    names = {}
    for entity in ENTITY.finditer(header):
        docstring, block = entity.groups()
        prefix = "".join(f"{space[1]}::" for space in nested if space.start() < entity.start() < space.end())
        for declaration in declarations(block):
            declared = without_template(declaration)
            if declared.startswith("static_assert"):
                continue
            kind, match = next(((k, m) for k, pattern in KINDS if (m := pattern.search(declared))), (None, None))
            if kind is None:
                raise SystemExit(f"api: what does this declare? {declaration[:200]!r}")
            elsewhere = kind in ("class", "struct") and re.fullmatch(r"[^{]*;\s*", declared)
            member = declared[: match.start(1)].endswith("::")
            if not elsewhere and not member and not docstring.startswith("/// As declared"):
                names.setdefault(prefix + match[1], (kind, first_sentence(docstring)))
    return [(kind, name, text) for name, (kind, text) in names.items()]


def public(path):
    return not {"detail", "host", "kernels"} & set(path.parts[:-1])


def page(headers):
    """The text of docs/api.md, for {path below include/tempflow: text}."""
    lines = [
        "<!-- SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors -->",
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<!-- Made by tests/lint/api.py --write. -->",
        "# Every public name",
        "",
        "All in namespace `tempflow`, by header, with the first sentence of each docstring; members, shapes, units, errors and",
        "sources are in the headers, and in the site that `./dev docs` makes of them. What is in a namespace `detail`, or in a",
        "folder detail/, host/ or kernels/, is not public. The Python package's names: [python/README.md](../python/README.md).",
    ]
    folder = None
    for path, text in sorted(headers.items(), key=lambda item: (item[0].parent, item[0])):
        names = entities(text)
        if not names:
            continue
        here = str(path.parent) + "/" if len(path.parts) > 1 else "tempflow/"
        if here != folder:
            lines += ["", f"## {here}"]
            folder = here
        lines += ["", f"[{path}](../include/tempflow/{path})"]
        lines += [f"- `{name}` ({kind}): {text}" for kind, name, text in names]
    return "\n".join(lines) + "\n"


def self_test():
    header = '''
/// What it is. More.
template <backend B, class T = std::vector<int>>
  requires(sizeof(T) > 1)
TEMPFLOW_HIDDEN void verb(const B& backend, T t) {
  f();
}
/// As above.
void verb(int);

namespace detail {

/// Hidden.
int hidden();

}  // namespace detail

/// A number, e.g. one: in
/// [0, 1) (a. b.). Not this.
inline constexpr double number = f(1);
inline constexpr double other{2};

/// other.hpp
struct elsewhere;

/// As declared.
void out_of_line() {}

/// `a: b`. C.
enum class choice { a };

/// D:
///   E.
template <class X>
concept thing = requires(X x) { x; };

namespace inner {

/// There.
requires computes<int> TEMPFLOW_HIDDEN void there(int);

}  // namespace inner

/// Output.
std::ostream& operator<<(std::ostream& to, int);
'''
    assert entities(header) == [
        ("function", "verb", "What it is."),
        ("constant", "number", "A number, e.g. one: in [0, 1) (a. b.)."),
        ("constant", "other", "A number, e.g. one: in [0, 1) (a. b.)."),
        ("enum", "choice", "`a: b`."),
        ("concept", "thing", "D: E."),
        ("function", "inner::there", "There."),
        ("function", "operator<<", "Output."),
    ], entities(header)


self_test()
found = [p.relative_to(INCLUDE / "tempflow") for p in INCLUDE.rglob("*.?*") if p.is_file()]
made = page({path: (INCLUDE / "tempflow" / path).read_text() for path in found if public(path)})
if "--write" in sys.argv[1:]:
    PAGE.write_text(made)
current = PAGE.read_text() if PAGE.exists() else ""
stale = sorted(set(made.splitlines()) ^ set(current.splitlines()))
print(*(f"api: {'missing' if line in made else 'out of date'}: {line}" for line in stale), sep="\n", end="\n" if stale else "")
if made != current:
    print("api: docs/api.md is stale: tests/lint/api.py --write")
print(f"api: {made.count(chr(10) + '- ')} names")
sys.exit(made != current)
