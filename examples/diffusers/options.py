# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Options of a run: what each means, its default, and what it may be."""

from dataclasses import dataclass, field

from errors import TrainerError
from methods import METHODS
from presets import PRESETS


def _option(kind, default, text: str, choices=None):
    return field(default=default, metadata={"kind": kind, "help": text, "choices": choices})


@dataclass(frozen=True)
class Options:
    """Everything that a run depends on. None: the model's preset has the number, or the method."""

    model: str = _option(str, "sd3", "SD3.5-M, FLUX.1-dev or Qwen-Image", tuple(PRESETS))
    method: str = _option(str, "tempflow-grpo", "how to explore and learn; `--method help` says what each does", tuple(METHODS))
    output: str = _option(str, "", "folder of logs, images and checkpoints (needed)")
    tiny: bool = _option(bool, False, "the model's own classes with small random weights, random text embeddings and a "
                         "linear decoder: trains in a minute on a CPU")
    model_path: str = _option(str, "", "folder with the weights, as diffusers' from_pretrained reads it")
    resume: str = _option(str, "", "a checkpoint to go on from; without a value, the newest of --output")
    updates: int = _option(int, 1000, "rollouts to learn from, in all")
    seed: int = _option(int, 42, "of LoRA's start, the noise and the order of prompts")

    prompts: str = _option(str, "", "training prompts: a text file with one a line, or a .jsonl with \"prompt\" and "
                           "metadata (GenEval); --tiny has some of its own")
    evaluation_prompts: str = _option(str, "", "prompts to evaluate on; without, the first of the training prompts")
    reward: list = _option(list, ("jpeg",), "NAME, NAME:WEIGHT or several with commas, added up: brightness, jpeg; "
                           "clip, pickscore, aesthetic, hpsv3, imagereward or ocr=PATH of weights, with packages of their "
                           "own; http://HOST:PORT/PATH (asks a server); program=COMMAND (JSON lines over pipes); "
                           "WEIGHT*REWARD works for all. Can be given many times")
    reward_timeout: float = _option(float, 60.0, "seconds that a server or a program has for a request")
    reward_retries: int = _option(int, 2, "times to ask again; then the samples are left out of the update")
    reward_batch: int = _option(int, 16, "images in a request")
    reward_device: str = _option(str, "", "of rewards that are models; empty: that of the model")

    resolution: int = _option(int, None, "pixels of an image's side")
    steps: int = _option(int, None, "sampling steps of a rollout, T")
    trained_steps: int = _option(int, None, "leading steps that explore and train; the density of the last is all but singular")
    noise_level: float = _option(float, None, "a of the SDE: how far a step explores")
    guidance: float = _option(float, None, "guidance scale; 1 or less: none")
    prompts_per_update: int = _option(int, None, "distinct prompts of an update")
    seeds_per_prompt: int = _option(int, None, "initial noises per prompt, over all processes")
    explorations: int = _option(int, None, "branches per step and noise, K; groups have seeds x K samples with every method but "
                                "branch-grpo")
    group: str = _option(str, "prompt", "samples that are compared: those of a prompt and step, or of one noise too "
                         "(tempflow-grpo, flow-grpo-fast)", ("prompt", "seed"))
    window: int = _option(int, 4, "steps that draw noise and train, at a time (mix-grpo, mix-grpo-flash, flow-grpo-fast)")
    window_updates: int = _option(int, 25, "updates until the window moves a step on (mix-grpo, mix-grpo-flash)")
    splits: int = _option(int, 4, "steps at which a tree parts in two (branch-grpo)")

    clip: float = _option(float, None, "clip range of the ratio (small, as log-probs are means over a latent's elements)")
    advantage_clip: float = _option(float, None, "largest advantage")
    advantage_epsilon: float = _option(float, None, "added to a group's standard deviation")
    advantage_scale: str = _option(str, None, "what advantages are divided by", ("group_std", "global_std", "none"))
    divergence_bound: float = _option(float, 1e-5, "KL to the rollout's policy from which on a row may only come back (dppo)")
    mixture: float = _option(float, 1.0, "b: how far the good and the bad policy lie from the old one (nft)")
    matching_weight: str = _option(str, "uniform", "how a flow-matching loss becomes a log-prob (awm)",
                                   ("uniform", "time", "time_squared", "huber"))
    kl_beta: float = _option(float, None, "weight of the KL to the model without LoRA; 0 saves its forward pass")
    rescore: bool = _option(bool, True, "score the rollout again as training does, so that ratios start at exactly 1; the "
                            "drift is what sampling was off by, to compare with the clip range")

    learning_rate: float = _option(float, None, "of AdamW")
    adam_beta1: float = _option(float, None, "of AdamW")
    adam_beta2: float = _option(float, None, "of AdamW")
    adam_epsilon: float = _option(float, None, "of AdamW")
    adam_8bit: bool = _option(bool, False, "bitsandbytes' AdamW with states of 8 bits")
    weight_decay: float = _option(float, None, "of AdamW")
    max_gradient_norm: float = _option(float, None, "gradients are shortened to it")
    updates_per_rollout: int = _option(int, 1, "optimiser steps per rollout, each on its share of the initial noises")
    lora_rank: int = _option(int, None, "of the adapters")
    lora_alpha: int = _option(int, None, "adapters count alpha / rank")
    ema: bool = _option(bool, None, "average LoRA over updates, for evaluation and for the LoRA to use")
    ema_decay: float = _option(float, None, "weight of the past, at most")
    ema_interval: int = _option(int, None, "optimiser steps between averages")

    precision: str = _option(str, None, "autocast of the transformer (fp16 with a loss scale); LoRA and latents stay fp32",
                             ("fp32", "bf16", "fp16"))
    device: str = _option(str, "", "of the model: cpu, cuda, cuda:1; empty: a GPU if there is one, by the local rank")
    shard: bool = _option(bool, False, "share the frozen weights out among the processes (FSDP); also where accelerate's "
                          "configuration has FSDP. LoRA stays whole")
    threads: int = _option(int, 0, "CPU threads; 0: torch's choice")
    gradient_checkpointing: bool = _option(bool, None, "compute activations again in the backward pass: less memory, "
                                           "more time")
    model_batch: int = _option(int, 64, "most rows of a forward pass in a rollout (twice as many with guidance)")
    train_batch: int = _option(int, 16, "states of a training batch; siblings share their state's forward pass")
    decode_batch: int = _option(int, 16, "images to decode at once")
    rollout_prompts: int = _option(int, 4, "prompts to roll out at once; their rewards are scored meanwhile. Bounds memory")

    evaluate_every: int = _option(int, 50, "updates between evaluations; 0: never")
    evaluation_steps: int = _option(int, None, "sampling steps of an evaluation, without noise")
    evaluation_images: int = _option(int, 16, "prompts of an evaluation, an image each, always of the same noise")
    checkpoint_every: int = _option(int, 50, "updates between checkpoints; there is one at the end too. 0: only that")
    keep_checkpoints: int = _option(int, 3, "newest checkpoints to keep; 0: all")
    tensorboard: str = _option(str, "auto", "log to OUTPUT/tensorboard too; auto: where tensorboard is installed",
                               ("auto", "on", "off"))
    wandb: str = _option(str, "", "a project of Weights & Biases, to log to too")
    process_timeout: float = _option(float, 1800.0, "seconds that a process waits for the others (torchrun)")

    @property
    def group_size(self) -> int:
        """Samples that are compared; of a tree its leaves."""
        if METHODS[self.method].groups == "depth":
            return 2**self.splits
        seeds = 1 if self.group == "seed" else self.seeds_per_prompt
        return seeds * self.explorations

    @property
    def noises_per_prompt(self) -> int:
        """Initial noises, or samples that leave one: what processes and an update's optimiser steps share."""
        return self.seeds_per_prompt * (1 if METHODS[self.method].seeds_explore else self.explorations)


_AT_LEAST = {"updates": 1, "steps": 2, "trained_steps": 1, "prompts_per_update": 1, "seeds_per_prompt": 1, "explorations": 1,
             "resolution": 16, "evaluation_steps": 1, "lora_rank": 1, "lora_alpha": 1, "ema_interval": 1, "train_batch": 1,
             "updates_per_rollout": 1, "model_batch": 0, "decode_batch": 1, "rollout_prompts": 1, "reward_batch": 1,
             "reward_retries": 0, "kl_beta": 0, "weight_decay": 0, "seed": 0, "evaluate_every": 0, "checkpoint_every": 0,
             "evaluation_images": 1, "keep_checkpoints": 0, "threads": 0, "window": 1, "window_updates": 1, "splits": 1,
             "divergence_bound": 0}
_ABOVE_ZERO = ("learning_rate", "clip", "noise_level", "max_gradient_norm", "reward_timeout", "process_timeout",
               "advantage_clip", "mixture")


def check(options: Options) -> None:
    """Raises TrainerError for options that no run can have."""
    wrong = [f"{name} is {getattr(options, name)}, expected at least {least}" for name, least in _AT_LEAST.items()
             if not getattr(options, name) >= least]
    wrong += [f"{name} is {getattr(options, name)}, expected more than 0" for name in _ABOVE_ZERO
              if not getattr(options, name) > 0]
    if options.trained_steps > options.steps:
        wrong.append(f"trained_steps is {options.trained_steps}, of {options.steps} steps")
    if options.updates_per_rollout > options.seeds_per_prompt:
        wrong.append(f"updates_per_rollout is {options.updates_per_rollout}, of {options.seeds_per_prompt} seeds_per_prompt")
    if options.resolution % 16:
        wrong.append(f"resolution is {options.resolution}, expected a multiple of 16")
    method = METHODS[options.method]
    if method.window and options.window > options.trained_steps:
        wrong.append(f"window is {options.window}, of {options.trained_steps} trained_steps")
    if method.groups == "depth" and options.splits > options.trained_steps:
        wrong.append(f"splits is {options.splits}, of {options.trained_steps} trained_steps")
    if options.group == "seed" and method.groups:
        wrong.append(f"group seed: {options.method} compares within a tree's {method.groups}; leave group out")
    elif options.group == "seed" and not method.seeds_explore:
        wrong.append(f"group seed: {options.method} has one sample per noise; use group prompt")
    elif options.group_size < 2:
        wrong.append("groups have 1 sample, and nothing to compare; raise explorations or seeds_per_prompt")
    if not options.output:
        wrong.append("no output folder; give --output DIR")
    if options.tiny == bool(options.model_path):
        wrong.append("give either --tiny or --model-path DIR")
    if not options.tiny and not options.prompts:
        wrong.append("no prompts; give --prompts FILE")
    if wrong:
        raise TrainerError("; ".join(wrong))
