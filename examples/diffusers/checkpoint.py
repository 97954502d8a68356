# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a folder each, written beside its place and then moved there, so that none is ever half written.

lora.safetensors   LoRA as it trains, for --resume
ema.safetensors    its average
old.safetensors    the policy that samples, of methods where it follows LoRA slowly (nft)
state.pt           optimiser, loss scale and position
sha256sums         checksums of the others: what is damaged is not gone on from
pytorch_lora_weights.safetensors   what to use (the average, if there is one): pipeline.load_lora_weights(FOLDER)
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from durable import damaged, flush, seal
from errors import TrainerError
from methods import METHODS

FOLDER = "checkpoints"
_IDENTITY = ("model", "method", "lora_rank")  # options that a checkpoint cannot change


def _numbered(output: str) -> list[Path]:
    return sorted(p for p in (Path(output) / FOLDER).glob("update-*") if p.name[7:].isdigit())


def save(options, policy, update: int) -> Path:
    """Writes the state after `update` updates; keeps the newest."""
    place = Path(options.output) / FOLDER / f"update-{update:06}"
    beside = place.with_name(f".{place.name}.part")
    try:
        _write(options, policy, update, beside)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(beside, place)
        flush(place.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk, say
        shutil.rmtree(beside, ignore_errors=True)
        raise TrainerError(f"checkpoint {place}: {' '.join(str(error).split())[:200]}; earlier ones are whole") from None
    for old in _numbered(options.output)[:-options.keep_checkpoints] if options.keep_checkpoints else []:
        shutil.rmtree(old, ignore_errors=True)
    return place


def _write(options, policy, update: int, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    about = {"tempflow": json.dumps({name: getattr(options, name) for name in _IDENTITY})}
    save_file(_on_cpu(policy.weights), folder / "lora.safetensors", about)
    if policy.averages is not None:
        save_file(_on_cpu(policy.averages), folder / "ema.safetensors", about)
    for name in _old_file(options):
        save_file(_on_cpu(policy.old_weights), folder / name, about)
    torch.save({"update": update, "steps": policy.steps, "optimizer": policy.optimizer.state_dict(),
                "scaler": policy.scaler.state_dict()}, folder / "state.pt")
    with policy.averaged():
        _save_for_diffusers(policy.transformer, folder)
    seal(folder)


def _save_for_diffusers(transformer, folder: Path) -> None:
    """LoRA as diffusers' save_lora_weights writes it (which would import a pipeline and all its text encoders)."""
    from peft.utils import get_peft_model_state_dict
    config = {f"transformer.{name}": sorted(value) if isinstance(value, set) else value
              for name, value in transformer.peft_config["default"].to_dict().items()}
    tensors = {f"transformer.{name}": t for name, t in get_peft_model_state_dict(transformer).items()}
    save_file(_on_cpu(tensors), folder / "pytorch_lora_weights.safetensors",
              {"format": "pt", "lora_adapter_metadata": json.dumps(config, sort_keys=True)})


def _on_cpu(tensors: dict) -> dict:
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def find(options) -> Path | None:
    """The folder that --resume means: of the newest, the newest that is whole. None: this run had no time for one. Raises
    TrainerError if there is none to go on from."""
    found = _numbered(options.output) if options.resume == "latest" else [Path(options.resume)]
    if not found:
        if (Path(options.output) / "options.yaml").exists():
            return None
        raise TrainerError(f"resume: no checkpoint in {Path(options.output) / FOLDER}")
    for place in reversed(found):
        complaint = _complaint(place)
        if not complaint:
            return _checked(place, options)
        if place != found[0]:
            print(f"train.py: {complaint}; an earlier one is tried", file=sys.stderr)
    raise TrainerError(f"resume: {complaint}")


def _complaint(place: Path) -> str:
    """What makes a checkpoint unusable; nothing, if it is whole."""
    if not place.is_dir():
        return f"there is no {place}"
    wrong = damaged(place)
    if missing := [name for name in wrong if not (place / name).is_file()]:
        return f"{place} has no {' and no '.join(missing)}"
    return f"cannot read {place}: damaged are {', '.join(wrong)}" if wrong else ""


def _checked(place: Path, options) -> Path:
    """A checkpoint of this run, not of another."""
    try:
        with safe_open(place / "lora.safetensors", "pt") as file:
            about = dict(json.loads((file.metadata() or {}).get("tempflow", "{}")))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise TrainerError(_unreadable(place, error)) from None
    for name in _IDENTITY:
        if about.get(name) != getattr(options, name):
            raise TrainerError(f"resume: {place} has {name} {about.get(name)}, this run {getattr(options, name)}; go on with "
                               f"--{name.replace('_', '-')} {about.get(name)}, or begin anew in another --output")
    for name in _old_file(options):
        if not (place / name).is_file():
            raise TrainerError(f"resume: {place} has no {name}")
    return place


def _old_file(options) -> list[str]:
    return ["old.safetensors"] if METHODS[options.method].old == "average" else []


def _unreadable(place: Path, error: Exception) -> str:
    return f"resume: cannot read {place}: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}"


def load(place: Path, options, policy) -> int:
    """Puts a checkpoint's state back; the number of updates it has seen. Changes nothing if it does not fit."""
    try:
        state = torch.load(place / "state.pt", weights_only=True)
        update, steps = int(state["update"]), int(state["steps"])
        weights = load_file(place / "lora.safetensors")
        averages = load_file(place / "ema.safetensors") if policy.averages is not None else None
        old = [load_file(place / name) for name in _old_file(options)]
    except Exception as error:  # whatever damaged files make the libraries raise
        raise TrainerError(_unreadable(place, error)) from None
    for tensors in (weights, averages, *old):
        _check_shapes(place, tensors, policy.weights)
    try:
        policy.optimizer.load_state_dict(state["optimizer"])
        policy.scaler.load_state_dict(state["scaler"])
    except Exception as error:
        raise TrainerError(_unreadable(place, error)) from None
    policy.put(weights)
    if averages is not None:
        policy.averages = {name: averages[name].to(p.device) for name, p in policy.weights.items()}
    for tensors in old:
        policy.old_weights, policy.is_old = {name: tensors[name].to(p.device) for name, p in policy.weights.items()}, False
    policy.steps = steps
    return update


def _check_shapes(place: Path, tensors: dict | None, weights: dict) -> None:
    for name, parameter in weights.items() if tensors is not None else ():
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        if got != tuple(parameter.shape):
            raise TrainerError(f"resume: {place} has {got} for {name}, this run {tuple(parameter.shape)}: other weights")
