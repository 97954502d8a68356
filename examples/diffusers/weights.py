# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Real weights, from a folder that diffusers' from_pretrained reads. Nothing is downloaded."""

import json
from pathlib import Path

import torch

from errors import TrainerError
from models import PRECISIONS

_TRANSFORMERS = {"sd3": "SD3Transformer2DModel", "flux": "FluxTransformer2DModel", "qwen": "QwenImageTransformer2DModel"}
_PIPELINES = {"sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline", "qwen": "QwenImagePipeline"}
_TEXT_TOKENS = {"sd3": 128, "flux": 128, "qwen": 256}


def check_folder(model: str, path: str) -> None:
    """Raises TrainerError unless the folder looks like a pipeline of the model. Costs nothing."""
    index = Path(path) / "model_index.json"
    if not index.is_file():
        raise TrainerError(f"model path {path}: no model_index.json; expected a folder with a {_PIPELINES[model]}'s weights")
    try:
        transformer = json.loads(index.read_text()).get("transformer", [None, None])[1]
    except (ValueError, AttributeError, IndexError, TypeError):
        raise TrainerError(f"model path {path}: model_index.json is not a pipeline's") from None
    if transformer != _TRANSFORMERS[model]:
        raise TrainerError(f"model path {path}: its transformer is {transformer}, and --model {model} needs "
                           f"{_TRANSFORMERS[model]}")
    missing = [name for name in ("transformer", "vae", "text_encoder") if not (Path(path) / name).is_dir()]
    if missing:
        raise TrainerError(f"model path {path}: no folder {', '.join(missing)}")


def _encoder(model: str, pipeline, device):
    length = _TEXT_TOKENS[model]

    def encode(texts: list[str]) -> dict:
        if model == "sd3":
            embeddings, _, pooled, _ = pipeline.encode_prompt(texts, None, None, device=device, max_sequence_length=length,
                                                              do_classifier_free_guidance=False)
            return {"embeddings": embeddings, "pooled": pooled}
        if model == "flux":
            embeddings, pooled, _ = pipeline.encode_prompt(texts, None, device=device, max_sequence_length=length)
            return {"embeddings": embeddings, "pooled": pooled}
        embeddings, mask = pipeline.encode_prompt(texts, device=device, max_sequence_length=length)
        if mask is None:  # what diffusers returns when no text is padded
            mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
        return {"embeddings": embeddings, "mask": mask.bool()}

    return encode


def load(model: str, path: str, precision: str, device, keep_on_cpu: tuple = ()):
    """(transformer, decoder, encode): frozen, the transformer and text encoders in the precision, the VAE in fp32; on the
    device, but for the components to keep on the CPU."""
    import diffusers
    diffusers.utils.logging.disable_progress_bar()
    try:
        types = {"vae": torch.float32, "default": PRECISIONS[precision]}
        pipeline = getattr(diffusers, _PIPELINES[model]).from_pretrained(path, torch_dtype=types, local_files_only=True)
    except (OSError, ValueError) as error:
        raise TrainerError(f"model path {path}: {' '.join(str(error).split())}") from None
    pipeline.set_progress_bar_config(disable=True)
    for name, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module) and name not in keep_on_cpu:
            module.to(device)
    pipeline.vae.requires_grad_(False)
    for name, module in pipeline.components.items():
        if name.startswith("text_encoder") and module is not None:
            module.requires_grad_(False).eval()
    return pipeline.transformer, pipeline.vae.eval(), _encoder(model, pipeline, device)
