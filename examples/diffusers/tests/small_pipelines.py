# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Whole pipelines of random weights: tokenizers, text encoders and VAEs of the models' own classes, to save and load."""

import string

import diffusers
import torch
import transformers
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

_LETTERS = list(string.ascii_lowercase)


def _vae():
    return diffusers.AutoencoderKL(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, latent_channels=4, layers_per_block=1,
                                   down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                                   shift_factor=0.1, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False)


def _clip(model_class):
    words = ["<|startoftext|>", "<|endoftext|>"] + _LETTERS + [letter + "</w>" for letter in _LETTERS]
    tokenizer = transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)
    config = transformers.CLIPTextConfig(hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=2,
                                         vocab_size=len(words), projection_dim=16, max_position_embeddings=77,
                                         eos_token_id=1, bos_token_id=0, pad_token_id=1)
    return model_class(config), tokenizer


def save_small_clip(folder) -> None:
    """A whole CLIP model of random weights, with its processor."""
    encoder, tokenizer = _clip(transformers.CLIPTextModel)
    vision = transformers.CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=2,
                                           image_size=32, patch_size=8, projection_dim=16)
    config = transformers.CLIPConfig(text_config=encoder.config.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPProcessor(image_processor=pixels, tokenizer=tokenizer).save_pretrained(folder)


def _t5():
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)] + [(letter, -2.0) for letter in _LETTERS]
    config = transformers.T5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return transformers.T5EncoderModel(config), transformers.T5Tokenizer(vocab=words, extra_ids=0)


def _qwen():
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + _LETTERS
    words += ["\u0120" + letter for letter in _LETTERS] + ["\u0120", "\u010a"]
    tokenizer = transformers.Qwen2Tokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[],
                                            unk_token="<|endoftext|>", pad_token="<|endoftext|>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
    config = transformers.Qwen2_5_VLConfig(
        text_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                     "num_key_value_heads": 2, "vocab_size": len(words), "rope_parameters": rope, "bos_token_id": 0,
                     "eos_token_id": 0},
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32})
    return transformers.Qwen2_5_VLForConditionalGeneration(config), tokenizer


def small_pipeline(model: str, transformer, scheduler):
    """The model's pipeline around a transformer that takes text of width 32."""
    torch.manual_seed(0)
    common = {"transformer": transformer, "scheduler": scheduler}
    if model == "qwen":
        vae = diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                                               temperal_downsample=[False, True, True], latents_mean=[0.1] * 4,
                                               latents_std=[1.5] * 4)
        encoder, tokenizer = _qwen()
        return diffusers.QwenImagePipeline(vae=vae, text_encoder=encoder, tokenizer=tokenizer, **common)
    t5, t5_tokenizer = _t5()
    if model == "flux":
        clip, tokenizer = _clip(transformers.CLIPTextModel)
        return diffusers.FluxPipeline(vae=_vae(), text_encoder=clip, tokenizer=tokenizer, text_encoder_2=t5,
                                      tokenizer_2=t5_tokenizer, **common)
    (clip, tokenizer), (other, _) = (_clip(transformers.CLIPTextModelWithProjection) for _ in range(2))
    return diffusers.StableDiffusion3Pipeline(vae=_vae(), text_encoder=clip, tokenizer=tokenizer, text_encoder_2=other,
                                              tokenizer_2=tokenizer, text_encoder_3=t5, tokenizer_3=t5_tokenizer, **common)
