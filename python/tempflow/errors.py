# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the library, by type. Each is a ValueError, and its message names the values and shapes."""

import functools
from typing import Callable, NoReturn, TypeVar

Function = TypeVar("Function", bound=Callable)


class TempflowError(ValueError):
    """Base of every error that the library raises."""


class ShapeError(TempflowError):
    """Extents that do not fit together."""


class InvalidValueError(TempflowError):
    """A number, a dtype or a name that its formula cannot take."""


class ScheduleError(TempflowError):
    """A sigma grid or a transition that no sampler can follow."""


class GroupError(TempflowError):
    """A group of samples that an estimator cannot use."""


class BackendMemoryError(TempflowError):
    """Memory that a backend does not reach, or too little of it."""


_TYPES = {"ShapeError": ShapeError, "InvalidValueError": InvalidValueError, "ScheduleError": ScheduleError,
          "GroupError": GroupError, "MemoryError": BackendMemoryError, "TempflowError": TempflowError}


def raise_typed(error: RuntimeError) -> NoReturn:
    """Raises an operator's error with the type that the operator has put before its message."""
    prefix, _, message = str(error).partition(": ")
    library, _, name = prefix.partition(".")
    if library == "tempflow" and name in _TYPES:
        raise _TYPES[name](message.split("\nException raised from")[0]) from None
    if "Expected a value of type" in str(error):  # a fraction for a count
        raise InvalidValueError(str(error).split("\n")[0]) from None
    raise error


def typed(function: Function) -> Function:
    """Gives errors of the operators that a function calls their types."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            raise_typed(error)

    return call
