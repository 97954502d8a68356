#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The documentation site, build/docs/index.html: the pages and the headers, by Doxygen.

Pages are written for GitHub. Here their formulas, anchors and links become Doxygen's; files that they link to and that are
neither pages nor public headers get a page with their text.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build/docs"
PAGES = SITE / "pages"
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
INLINE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
MATH = re.compile(r"\$([^$\n](?:[^$]*?[^$\s])?)\$")
IMAGE = re.compile(r"!\[([^]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"\[((?:[^][]|\[[^]]*\])+)\]\((?!https?:|@ref)([^)\s#]*)(#[^)\s]+)?\)")
HEADING = re.compile(r"^(#+) (.+)$", re.M)


def sources():
    """The Markdown pages: README.md, docs/README.md, and what that lists, in its order."""
    links = re.findall(r"\]\(([^)]*\.md)\)", (ROOT / "docs/README.md").read_text())
    return list(dict.fromkeys(["README.md", "docs/README.md", *(os.path.normpath(f"docs/{link}") for link in links)]))


def version():
    return ".".join(re.findall(r"#define TEMPFLOW_VERSION_\w+ (\d+)", (ROOT / "include/tempflow/version.hpp").read_text()))


def label(path, anchor=""):
    """Doxygen's name of a page, or of a heading by its anchor on GitHub."""
    name = re.sub(r"\W", "_", path.removesuffix(".md").lower())
    return f"{name}-{anchor}" if anchor else name


def slug(heading):
    """GitHub's anchor of a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`$*]", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def literal(code):
    """Code in a line, of which Doxygen is to make nothing else."""
    if "__" in code:  # not bold
        return f"`{code}`"
    return "<code>" + re.sub(r"---?|[\\@&$#<>%\"|*]", r"\\\g<0>", code) + "</code>"


class Site:
    def __init__(self):
        self.pages = sources()
        self.files = set()  # linked to, with a page of their text

    def target(self, page, path, anchor):
        """What Doxygen calls the target of a link on a page: '@ref NAME', or an address."""
        if not path:
            return f"@ref {label(page, anchor[1:])}"
        found = os.path.normpath(os.path.join(os.path.dirname(page), path))
        if found in self.pages:
            return f"@ref {label(found, (anchor or '')[1:])}" if found != "README.md" or anchor else "index.html"
        if (ROOT / found / "README.md").exists() and f"{found}/README.md" in self.pages:
            return f"@ref {label(found + '/README.md')}"
        private = re.search(r"/(detail|host|kernels)/", found)
        if found.startswith("include/tempflow/") and (ROOT / found).is_file() and not private:
            return f"@ref {found.removeprefix('include/')}"
        self.files.add(found)
        return f"files/{found}.html"

    def prose(self, page, text, plain):
        """Text without code: formulas, images, links. plain(text) has its code as it reads: references take no markup."""
        kept = []

        def keep(piece):
            kept.append(piece)
            return f"\0{len(kept) - 1}\0"

        text = MATH.sub(lambda m: keep(rf"\f${m[1]}\f$"), text)
        text = re.sub(r'<img src="[^"]*/([^"/]+)"', lambda m: f'<img src="{m[1]}"', text)
        text = IMAGE.sub(lambda m: keep(f'<img src="{Path(m[2]).name}" alt="{html.escape(m[1])}">'), text)

        def link(m):
            to = self.target(page, m[2], m[3])
            text = " ".join(m[1].split())
            return f"[{plain(text)}]({to})" if to.startswith("@ref") else keep(f'<a href="{to}">') + text + keep("</a>")

        text = LINK.sub(link, text)
        return re.sub("\0(\\d+)\0", lambda m: kept[int(m[1])], text)

    def converted(self, page):
        """A page as Doxygen reads it."""
        text = re.sub(r"^<!--.*?-->\n", "", (ROOT / page).read_text(), flags=re.M | re.S)
        code = []

        def keep(piece):
            code.append(piece)
            return f"\1{len(code) - 1}\1"

        def fenced(m):
            if m[2] == "math":
                return keep(f"\n\\f[\n{m[3]}\\f]\n")
            language = {"cpp": "{.cpp}", "python": "{.py}", "cuda": "{.cpp}"}.get(m[2], "{.unparsed}")
            return keep(f"{m[1]}```{language}\n{m[3]}{m[1]}```")

        text = FENCED.sub(fenced, text)
        text = INLINE.sub(lambda m: keep(literal(" ".join(m[1].split()))), text)
        first = True

        def plain(text):
            return re.sub("\1(\\d+)\1", lambda c: re.sub(r"</?code>|[`\\]", "", code[int(c[1])]), text)

        def heading(m):
            nonlocal first
            name = label(page) if first else label(page, slug(plain(m[2])))
            first = False
            return f"{m[1]} {m[2]} {{#{name}}}"

        text = HEADING.sub(heading, text)
        text = self.prose(page, text, plain)
        return re.sub("\1(\\d+)\1", lambda m: code[int(m[1])], text)

    def write_file(self, path):
        """The page of a file's text, or of a folder's list."""
        source, to = ROOT / path, SITE / "files" / f"{path}.html"
        to.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            names = sorted(p for p in source.iterdir() if p.is_file())
            body = "<ul>" + "".join(f'<li><a href="{source.name}/{p.name}.html">{p.name}</a></li>' for p in names) + "</ul>"
            for name in names:
                self.write_file(str(name.relative_to(ROOT)))
        else:
            body = f"<pre>{html.escape(source.read_text(errors='replace'))}</pre>"
        style = os.path.relpath(SITE / "style.css", to.parent)
        to.write_text(f'<!DOCTYPE html><meta charset="utf-8"><title>{path}</title><link rel="stylesheet" href="{style}">\n'
                      f"<h1>{path}</h1>\n{body}\n")

    def build(self):
        shutil.rmtree(SITE, ignore_errors=True)
        PAGES.mkdir(parents=True)
        for place, page in enumerate(self.pages):  # Doxygen lists them by their names
            (PAGES / f"{place:02}_{label(page)}.md").write_text(self.converted(page))
        environment = {**os.environ, "TEMPFLOW_VERSION": version()}
        subprocess.run(["doxygen", "docs/site/Doxyfile"], cwd=ROOT, check=True, env=environment)
        for image in (ROOT / "docs/images").iterdir():
            if image.suffix in (".png", ".svg"):
                shutil.copy(image, SITE / image.name)
        for path in sorted(self.files):
            self.write_file(path)
        shutil.rmtree(PAGES)


def faults():
    """Links of the site that lead nowhere, and what Doxygen took for text."""
    for page in sorted(SITE.rglob("*.html")):
        text = page.read_text(errors="replace")
        if "files" not in page.relative_to(SITE).parts:
            left = re.findall(r"@(?:end)?code|@ref |&lt;(?:a|img|code)\b", text)
            yield from (f"{page.name}: not read as markup: {markup}" for markup in left)
        for to in set(re.findall(r'(?:href|src)="([^":#?]+)(?:[#?][^"]*)?"', text)):
            if not (page.parent / html.unescape(to)).exists():
                yield f"{page.relative_to(SITE)}: dead link: {to}"


Site().build()
found = list(faults())
print(*found, f"docs: {len(found)} faults, build/docs/index.html", sep="\n")
sys.exit(bool(found))
