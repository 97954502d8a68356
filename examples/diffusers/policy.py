# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""LoRA on a transformer: its optimiser, its average over updates, and the model without it."""

from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

import tempflow
from errors import TrainerError
from presets import LORA_TARGETS


class Policy:
    """What trains. `weights` and `averages` (None without EMA) are LoRA's tensors by name, in fp32."""

    def __init__(self, transformer, options, device) -> None:
        self.transformer, self.options = transformer, options
        transformer.requires_grad_(False)
        transformer.add_adapter(LoraConfig(r=options.lora_rank, lora_alpha=options.lora_alpha, init_lora_weights="gaussian",
                                           target_modules=list(LORA_TARGETS[options.model])))
        self.adapters = [m for m in transformer.modules() if isinstance(m, BaseTunerLayer)]
        if options.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        self.weights = {name: p for name, p in transformer.named_parameters() if p.requires_grad}
        for parameter in self.weights.values():
            parameter.data = parameter.data.to(device, torch.float32)
        self.averages = {name: p.detach().clone() for name, p in self.weights.items()} if options.ema else None
        self.old_weights, self.is_old = None, True  # of the policy that samples, and whether `weights` are still these
        self.optimizer = self._adamw()
        self.steps = 0
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")

    def _adamw(self):
        o = self.options
        rule = torch.optim.AdamW
        if o.adam_8bit:
            try:
                from bitsandbytes.optim import AdamW8bit as rule
            except ImportError as error:
                raise TrainerError(f"adam_8bit needs bitsandbytes: {error}") from None
        return rule(self.weights.values(), lr=o.learning_rate, betas=(o.adam_beta1, o.adam_beta2), eps=o.adam_epsilon,
                    weight_decay=o.weight_decay)

    def backward(self, loss) -> None:
        self.scaler.scale(loss).backward()

    def step(self, processes) -> float:
        """One step of the optimiser on the gradients of all processes; their norm."""
        tempflow.sum_gradients(self.weights.values(), group=processes.group)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.options.max_gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averages is not None:
            decay = tempflow.ema_decay(self.steps, decay=self.options.ema_decay, interval=self.options.ema_interval)
            if decay is not None:
                self._average(self.averages, decay)
        self.steps += 1
        self.is_old = False
        return float(norm)

    def remember(self) -> None:
        """LoRA as it is becomes the old policy."""
        self.old_weights, self.is_old = {name: p.detach().clone() for name, p in self.weights.items()}, True

    def follow(self) -> None:
        """The old policy comes after LoRA, as DiffusionNFT's: it keeps min(0.001 n, 0.5) of itself after n optimiser steps."""
        self._average(self.old_weights, min(0.001 * self.steps, 0.5))

    def _average(self, averaged: dict, decay: float) -> None:
        averages, weights = averaged.values(), [p.detach() for p in self.weights.values()]
        if tempflow.has_cuda:
            return tempflow.ema_update(averages, weights, decay)
        on_cpu = [a.cpu() for a in averages]  # itself, where it is there
        tempflow.ema_update(on_cpu, [w.cpu() for w in weights], decay)
        for average, result in zip(averages, on_cpu):
            average.copy_(result)

    def averaged(self):
        """LoRA's average in the place of LoRA."""
        return self._in_its_place(self.averages)

    def old(self):
        """The old policy's LoRA in the place of LoRA."""
        return self._in_its_place(None if self.is_old else self.old_weights)

    @contextmanager
    def _in_its_place(self, tensors: dict | None):
        if tensors is None:
            yield
            return
        kept = {name: p.detach().clone() for name, p in self.weights.items()}
        self.put(tensors)
        try:
            yield
        finally:
            self.put(kept)

    @torch.no_grad()
    def put(self, tensors: dict) -> None:
        for name, parameter in self.weights.items():
            parameter.copy_(tensors[name])

    @contextmanager
    def reference(self):
        """The model that training began with: adapters switched off."""
        self._switch(False)
        try:
            yield
        finally:
            self._switch(True)

    def _switch(self, on: bool) -> None:  # transformer.disable_adapters() looks through all modules, at each batch
        for adapter in self.adapters:
            adapter.enable_adapters(on)
