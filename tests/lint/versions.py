# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Versions in files that cannot read version.hpp are those of version.hpp."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIES = {  # path: the pattern around a copy of the version, whole, or in pages major.minor
    "cmake/ports/vcpkg/tempflow/vcpkg.json": r'"version": "([\d.]+)"',
    "cmake/ports/spack_repo/tempflow/packages/tempflow/package.py": r'version\("([\d.]+)"\)',
    "docs/install.md": r"tempflow[/@ ]([\d.]+\d)",
    "README.md": r"find_package\(tempflow ([\d.]+)",
}


def stale(version, text, pattern, page=True):
    """Copies in a text that are not the version, or in a page its first two numbers; a text without any has one problem, too."""
    right = (version, version.rsplit(".", 1)[0]) if page else (version,)
    found = [next(filter(None, match.groups())) for match in re.finditer(pattern, text)]
    return [copy for copy in found if copy not in right] or ([] if found else ["none"])


def self_test():
    assert not stale("1.2.3", 'version("1.2.3") name@1.2', r'"([\d.]+)"|@([\d.]+)')
    assert stale("1.2.3", 'version("1.2.4")', r'"([\d.]+)"') == ["1.2.4"]
    assert stale("1.2.3", "", r"v(\d)") == ["none"]
    assert stale("1.2.3", "v1.2", r"v([\d.]+)", page=False) == ["1.2"]


self_test()
header = (ROOT / "include/tempflow/version.hpp").read_text()
version = ".".join(re.findall(r"#define TEMPFLOW_VERSION_\w+ (\d+)", header))
found = []
for path, pattern in COPIES.items():
    found += [f"{path}: version {copy}, not {version}" for copy in stale(version, (ROOT / path).read_text(), pattern,
                                                                              page=path.endswith(".md"))]
print(*found, f"versions: {len(found)} problems", sep="\n")
sys.exit(bool(found))
