# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Options from the model's preset, then --tiny, a YAML file and the command line; the last one wins."""

import argparse
import difflib
from dataclasses import fields
from pathlib import Path

import tempflow
from errors import TrainerError
from methods import METHODS, listing
from options import Options, check
from presets import PRESETS, TINY

_FIELDS = {f.name: f for f in fields(Options)}


def _default_text(name: str, default) -> str:
    if default is None:
        by_model = {model: preset[name] for model, preset in PRESETS.items()}
        alike = len(set(by_model.values())) == 1
        return str(by_model["sd3"]) if alike else ", ".join(f"{model} {value}" for model, value in by_model.items())
    return ",".join(default) if isinstance(default, tuple) else str(default) if default != "" else "none"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the list of methods."""


def _parser() -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            raise TrainerError(f"{message} (--help lists the options)")

    class TellMethods(argparse.Action):
        def __call__(self, parser, namespace, value, option=None):
            if value == "help":
                parser.exit(0, f"{listing()}\n")
            setattr(namespace, self.dest, value)

    about = "Trains LoRA adapters of a text-to-image model with a policy-gradient method of your choice."
    parser = Parser(prog="train.py", description=about, argument_default=argparse.SUPPRESS, epilog=f"methods:\n{listing()}",
                    allow_abbrev=False, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"tempflow {tempflow.__version__}")
    parser.add_argument("--config", help="a YAML file with any of these options, by name; the command line wins")
    for name, f in _FIELDS.items():
        kind, choices = f.metadata["kind"], f.metadata["choices"]
        others = [f"with {method} {m.defaults[name]:g}" for method, m in METHODS.items() if name in m.defaults]
        others += [f"with --tiny {_default_text(name, TINY[name])}"] if name in TINY else []
        text = f"{f.metadata['help']} [{'; '.join([_default_text(name, f.default), *others])}]".replace("%", "%%")
        extra = {"choices": choices} if choices else {} if kind is bool else {"metavar": kind.__name__.upper()}
        if kind is bool:
            extra["action"] = argparse.BooleanOptionalAction
        elif kind is list:
            extra.update(action="append", metavar="REWARD")
        else:
            extra["type"] = kind
        if name == "resume":
            extra.update(nargs="?", const="latest", metavar="CHECKPOINT")
        if name == "method":
            extra.update(action=TellMethods, choices=(*choices, "help"), metavar="METHOD")
        parser.add_argument("--" + name.replace("_", "-"), help=text, **extra)
    return parser


def _from_yaml(path: str) -> dict:
    import yaml
    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise TrainerError(f"config {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise TrainerError(f"config {path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise TrainerError(f"config {path}: expected lines of \"option: value\"")
    chosen = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, 1)
            raise TrainerError(f"config {path}: no option {key}" + (f"; did you mean {near[0]}?" if near else ""))
        chosen[name] = _typed(f"config {path}: {name}", _FIELDS[name], value)
    return chosen


def _typed(where: str, f, value):
    kind, choices = f.metadata["kind"], f.metadata["choices"]
    if kind is list:
        return [value] if isinstance(value, str) else [str(v) for v in value]
    right = isinstance(value, bool) if kind is bool else not isinstance(value, bool)
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        right = False
    if not right or (kind is int and converted != float(value)) or (choices and converted not in choices):
        expected = " or ".join(choices) if choices else kind.__name__
        raise TrainerError(f"{where} is {value!r}, expected {expected}")
    return converted


def read_options(arguments: list[str]) -> Options:
    """Options of a command line. Raises TrainerError for what cannot be."""
    given = vars(_parser().parse_args(arguments))
    chosen = (_from_yaml(given.pop("config")) if "config" in given else {}) | given
    numbers = PRESETS[chosen.get("model", Options.model)] | METHODS[chosen.get("method", Options.method)].defaults
    published = {name: _FIELDS[name].metadata["kind"](value) for name, value in numbers.items()}
    options = Options(**(published | (TINY if chosen.get("tiny") else {}) | chosen))
    check(options)
    return options
