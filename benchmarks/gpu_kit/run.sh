#!/bin/sh
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# Tests and measures tempflow on this machine's GPU, in at most nine minutes: run.sh --help.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null; then
  echo "run.sh: there is no '$python'; name a Python 3.9 or later: PYTHON=/path/to/python3 $0" >&2
  exit 1
fi
exec "$python" -u "$here/benchmarks/gpu_kit/kit.py" "$@"
