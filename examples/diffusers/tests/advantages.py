# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""train.py that writes each sample's identity and advantage to FOLDER/RANK.json: advantages.py FOLDER ARGUMENTS..."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import train  # noqa: E402
from trainer import Trainer  # noqa: E402

judge = Trainer.judge


def judge_and_tell(self, parts):
    row = judge(self, parts)
    told = {str(tuple(s[:4])): a.hex() for part in parts
            for s, a in zip(part.rollout.table[:, 6:].tolist() if part.of_rows else part.rollout.identities,
                            part.advantages.values.tolist())}
    file = Path(sys.argv[1]) / f"{os.environ.get('RANK', 0)}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | told if file.exists() else told))
    return row


Trainer.judge = judge_and_tell
sys.exit(train.main(sys.argv[2:]))
