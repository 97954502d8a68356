# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""SD3.5, FLUX.1 and Qwen-Image as velocity models: model(x, sigma, prompts) -> v, and samples to images.

Latents are on the model's device, if tempflow has operators for it, or else on the CPU; then they go to the model and back.
"""

import torch

import tempflow

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SPATIAL_FACTOR = 8  # pixels of a latent pixel's side


class FlowModel:
    """A transformer, its image decoder, and its text encoder: a function of texts to tensors with a row for each."""

    sigmas_of = ""
    negative_prompt = ""
    preserves_norm = False  # of guidance
    packed = True  # states are (tokens, channels x 4), 2 x 2 latent pixels a token

    def __init__(self, transformer, decoder, encode, options, device) -> None:
        self.transformer, self.decoder, self.encode, self.device = transformer, decoder, encode, device
        self.latents_on = device if device.type == "cuda" and tempflow.has_cuda else torch.device("cpu")
        self.guidance, self.precision = options.guidance, PRECISIONS[options.precision]
        self.side = options.resolution // SPATIAL_FACTOR
        self.tokens = (self.side // 2) ** 2
        channels = transformer.config.in_channels
        self.shape = (self.tokens, channels) if self.packed else (channels, self.side, self.side)
        self.row_of, self.conditions = torch.zeros(0, dtype=torch.int64), {}

    def prepare(self, prompts) -> None:
        """Embeds the prompts that calls will name, and the negative prompt in row 0. All are padded alike."""
        with torch.no_grad():
            conditions = self.encode([self.negative_prompt] + [p.text for p in prompts])
        self.conditions = {name: tensor.to(self.device) for name, tensor in conditions.items()}
        row_of = torch.zeros(max(p.id for p in prompts) + 1, dtype=torch.int64)
        row_of[[p.id for p in prompts]] = torch.arange(1, len(prompts) + 1)
        self.row_of = row_of.to(self.device)

    def __call__(self, x, sigma, prompts):
        rows = self.row_of[prompts.to(self.device)]
        latents, sigma = x.to(self.device), sigma.to(self.device)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            if self.doubled:  # both halves of the guidance in one pass
                latents, sigma, rows = torch.cat([latents] * 2), torch.cat([sigma] * 2), torch.cat([rows * 0, rows])
            v = self.forward(latents, sigma, {name: tensor[rows] for name, tensor in self.conditions.items()})
        if self.doubled:
            v = self.guide(*v.float().to(x.device).chunk(2))
        return v.to(x.device)

    @property
    def doubled(self) -> bool:
        return self.guidance > 1

    def guide(self, negative, positive):
        return tempflow.guided(positive, negative, self.guidance, preserve_norm=self.preserves_norm)

    def unpacked(self, samples):
        side = self.side // 2
        pixels = samples.reshape(-1, side, side, samples.shape[-1] // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return pixels.reshape(-1, samples.shape[-1] // 4, self.side, self.side)

    def decode(self, latents):
        config = self.decoder.config
        return self.decoder.decode(latents / config.scaling_factor + config.shift_factor, return_dict=False)[0]

    @torch.no_grad()
    def images(self, samples):
        """uint8 images (N, height, width, 3) of samples, as a numpy array."""
        latents = samples.to(self.device, self.decoder.dtype)
        pixels = self.decode(self.unpacked(latents) if self.packed else latents)
        return (pixels.float() / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class StableDiffusion3(FlowModel):
    """(B, C, H, W) latents, sigma x 1000, guidance by a doubled batch."""

    sigmas_of = "sd3"
    packed = False

    def forward(self, x, sigma, conditions):
        return self.transformer(x, timestep=sigma * 1000, encoder_hidden_states=conditions["embeddings"],
                                pooled_projections=conditions["pooled"], return_dict=False)[0]


class Flux(FlowModel):
    """Packed latents, sigma in [0, 1], positions of tokens, guidance that is an input."""

    sigmas_of = "flux"
    doubled = False

    def forward(self, x, sigma, conditions):
        side = self.side // 2
        image_ids = torch.zeros(side, side, 3, device=x.device)
        image_ids[..., 1] = torch.arange(side, device=x.device)[:, None]
        image_ids[..., 2] = torch.arange(side, device=x.device)
        text_ids = torch.zeros(conditions["embeddings"].shape[1], 3, device=x.device)
        guidance = torch.full_like(sigma, self.guidance) if self.transformer.config.guidance_embeds else None
        return self.transformer(x, timestep=sigma, encoder_hidden_states=conditions["embeddings"], guidance=guidance,
                                pooled_projections=conditions["pooled"], img_ids=image_ids.reshape(-1, 3), txt_ids=text_ids,
                                return_dict=False)[0]


class QwenImage(FlowModel):
    """Packed latents, sigma in [0, 1], masked text, guidance that keeps the norm of each token's velocity."""

    sigmas_of = "qwen_image"
    preserves_norm = True
    negative_prompt = " "

    def forward(self, x, sigma, conditions):
        shapes = [[(1, self.side // 2, self.side // 2)]] * x.shape[0]
        return self.transformer(x, timestep=sigma, encoder_hidden_states=conditions["embeddings"],
                                encoder_hidden_states_mask=conditions["mask"], img_shapes=shapes, return_dict=False)[0]

    def decode(self, latents):
        config = self.decoder.config
        mean, std = (torch.tensor(numbers, device=latents.device, dtype=latents.dtype).reshape(1, -1, 1, 1, 1)
                     for numbers in (config.latents_mean, config.latents_std))
        return self.decoder.decode(latents[:, :, None] * std + mean, return_dict=False)[0][:, :, 0]


MODELS = {"sd3": StableDiffusion3, "flux": Flux, "qwen": QwenImage}
