# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Trains LoRA adapters of SD3.5-M, FLUX.1-dev or Qwen-Image with TempFlow-GRPO, Flow-GRPO and their kin, on tempflow.

    python train.py --tiny --output runs/tiny                                 # a minute on a CPU
    python train.py --model flux --model-path FLUX.1-dev --prompts train.txt --reward jpeg --output runs/flux
    torchrun --nproc-per-node 4 train.py ...      # seeds of each prompt shared among processes; launch/ has more

`python train.py --help` explains every option, --method help the methods; README.md the rest.
"""

import dataclasses
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import torch

import sharding
import tempflow
from command_line import read_options
from distributed import Processes
from durable import StopRequest, Stopped, held, write_text
from errors import TrainerError
from prompts import load_prompts
from report import check_log
from rewards import Rewards


def prepare_output(options) -> None:
    """Writes the options into the folder."""
    import yaml
    folder = Path(options.output)
    if not options.resume and (folder / "log.csv").exists():
        raise TrainerError(f"output {folder} has a run in it; go on with --resume, or choose another")
    try:
        chosen = {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in dataclasses.asdict(options).items()}
        write_text(folder / "options.yaml", yaml.safe_dump(chosen, sort_keys=False))
    except OSError as error:
        raise TrainerError(f"output {folder}: {error.strerror}") from None


def train(options) -> None:
    """A run, from its options to its last checkpoint. Raises TrainerError for what the user can mend."""
    prompts, evaluated = load_prompts(options.prompts, options.evaluation_prompts, options.prompts_per_update,
                                      options.evaluation_images)
    if options.model_path:
        from weights import check_folder
        check_folder(options.model, options.model_path)
    sharding.is_wanted(options)
    check_log(options)
    if options.resume:
        import checkpoint
        place = checkpoint.find(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    with closing(Rewards(options, prompts)) as rewards:
        with closing(Processes(options)) as processes:
            run(options, processes, rewards, prompts, evaluated, place if options.resume else None)


def run(options, processes, rewards, prompts, evaluated, place: Path | None) -> None:
    """The updates, from a checkpoint's place on or from the first."""
    import checkpoint
    with ExitStack() as opened:
        if processes.main:
            opened.enter_context(held(Path(options.output)))
            prepare_output(options)
        stop = opened.enter_context(closing(StopRequest()))
        trainer = build(options, processes, rewards, prompts, evaluated)
        first = checkpoint.load(place, options, trainer.policy) if place else 0
        if first >= options.updates:
            raise TrainerError(f"resume: {place} has all {options.updates} updates; raise --updates to go on")
        trainer.run(first, lambda: any(processes.gather(stop.came)))


def build(options, processes, rewards, prompts, evaluated):
    """The model, its adapters, and the trainer of them."""
    from models import MODELS  # diffusers and peft take seconds: what a user gets wrong was found by now
    from policy import Policy
    from trainer import Trainer
    sharded = sharding.is_wanted(options)
    torch.manual_seed(options.seed)
    if options.tiny:
        import tiny
        transformer, decoder, encode = tiny.build(options.model)
        transformer, decoder = transformer if sharded else transformer.to(processes.device), decoder.to(processes.device)
    else:
        import weights
        transformer, decoder, encode = weights.load(options.model, options.model_path, options.precision, processes.device,
                                                    ("transformer",) if sharded else ())
    torch.manual_seed(options.seed)
    policy = Policy(transformer, options, processes.device)
    if sharded:
        sharding.shard(transformer, processes.device)
    model = MODELS[options.model](transformer, decoder, encode, options, processes.device)
    if processes.main:
        trained = sum(p.numel() for p in policy.weights.values())
        total = sum(p.numel() for p in transformer.parameters())
        print(f"{options.method} on {options.model}{' (tiny)' if options.tiny else ''}: {total:,} parameters, {trained:,} "
              f"of them LoRA's; groups of {options.group_size}, {options.prompts_per_update} prompts an update"
              f"{f'; weights shared out among {processes.count} processes' if sharded else ''}", flush=True)
    return Trainer(options, model, policy, rewards, prompts, evaluated, processes)


def main(arguments: list[str]) -> int:
    """The command: 0, 2 for what the user can mend, 143 and 130 by SIGTERM (with a checkpoint) and SIGINT, 1 for a process that
    another one left alone."""
    try:
        train(read_options(arguments))
    except TrainerError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except Stopped:
        print("train.py: terminated after a checkpoint; --resume goes on from it", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("train.py: interrupted; --resume goes on from the newest checkpoint", file=sys.stderr)
        return 130
    except ValueError as error:
        if not isinstance(error, tempflow.TempflowError):
            raise
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", 1)) == 1 or isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        print(f"train.py: process {os.environ['RANK']} stops, as another has ended or not answered: {reason}",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
