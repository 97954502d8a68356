# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The one error that a user is meant to read."""


class TrainerError(Exception):
    """What is wrong and what to do, in one line."""
