# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards that are models, each by its own package and with weights from a path. Nothing is downloaded.

NAME: (what it needs, a function of (path, device) to a function of images and prompts).
"""

import re
import tempfile
from pathlib import Path

from errors import TrainerError


def _pictures(images) -> list:
    from PIL import Image
    return [Image.fromarray(image) for image in images]


def _similarity(divisor: float):
    """A CLIP model's similarity of image and text, over a divisor."""

    def load(path: str, device):
        import torch
        from transformers import AutoModel, AutoProcessor
        model = AutoModel.from_pretrained(path, local_files_only=True).eval().to(device)
        processor = AutoProcessor.from_pretrained(path, local_files_only=True)

        @torch.no_grad()
        def score(images, prompts) -> list[float]:
            inputs = processor(text=[p.text for p in prompts], images=list(images), return_tensors="pt", padding=True,
                               truncation=True).to(device)
            return (model(**inputs).logits_per_image.diagonal() / divisor).tolist()

        return score

    return load


def _aesthetic(path: str, device):
    """LAION's aesthetic score, from 1 to 10, of images alone."""
    import torch
    from aesthetics_predictor import AestheticsPredictorV2Linear
    from transformers import CLIPProcessor
    model = AestheticsPredictorV2Linear.from_pretrained(path, local_files_only=True).eval().to(device)
    processor = CLIPProcessor.from_pretrained(path, local_files_only=True)

    @torch.no_grad()
    def score(images, prompts) -> list[float]:
        inputs = processor(images=list(images), return_tensors="pt").to(device)
        return model(**inputs).logits.flatten().tolist()

    return score


def _hpsv3(path: str, device):
    import torch
    from hpsv3 import HPSv3RewardInferencer
    model = HPSv3RewardInferencer(checkpoint_path=path, device=str(device))

    @torch.no_grad()
    def score(images, prompts) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder) / f"{number}.png") for number in range(len(images))]
            for picture, file in zip(_pictures(images), files):
                picture.save(file)
            rewards = model.reward(prompts=[p.text for p in prompts], image_paths=files)
        return [float(reward[0]) for reward in rewards]  # the mean; the second is its uncertainty

    return score


def _imagereward(path: str, device):
    import ImageReward
    import torch
    model = ImageReward.load(path, device=str(device)).eval()

    @torch.no_grad()
    def score(images, prompts) -> list[float]:
        return [float(model.score(p.text, picture)) for p, picture in zip(prompts, _pictures(images))]

    return score


def _ocr(path: str, device):
    """How much of the text that a prompt has in quotes is to be read in the image; None for a prompt without quotes."""
    import easyocr
    reader = easyocr.Reader(["en"], gpu=device.type == "cuda", model_storage_directory=path, download_enabled=False,
                            verbose=False)

    def score(images, prompts) -> list[float | None]:
        wanted = [quoted(p.text) for p in prompts]
        return [None if text is None else legibility(text, " ".join(reader.readtext(image, detail=0)))
                for text, image in zip(wanted, images)]

    return score


def quoted(prompt: str) -> str | None:
    """The first text in double quotes."""
    found = re.search(r'["\u201c]([^"\u201c\u201d]+)["\u201d]', prompt)
    return found[1] if found else None


def legibility(text: str, read: str) -> float:
    """1 where the text occurs in what was read, and else 1 - their edit distance over the text's length, at least 0; without
    regard to case and spaces. As in Flow-GRPO, arXiv 2505.05470, section 5.1."""
    text, read = ("".join(words.lower().split()) for words in (text, read))
    if text in read:
        return 1.0
    distances = list(range(len(read) + 1))  # from what of the text has been looked at to each beginning of what was read
    for row, letter in enumerate(text, 1):
        before, distances[0] = distances[0], row
        for column, other in enumerate(read, 1):
            best = min(before + (letter != other), distances[column] + 1, distances[column - 1] + 1)
            before, distances[column] = distances[column], best
    return max(0.0, 1 - distances[-1] / len(text))


MODELS = {"clip": ("transformers", _similarity(100.0)), "pickscore": ("transformers", _similarity(26.0)),  # as in Flow-GRPO
          "aesthetic": ("simple-aesthetics-predictor", _aesthetic), "hpsv3": ("hpsv3", _hpsv3),
          "imagereward": ("image-reward", _imagereward), "ocr": ("easyocr", _ocr)}


def load(name: str, path: str, device):
    """A reward by name. Raises TrainerError, in a line, for what is not there."""
    package, loader = MODELS[name]
    if not Path(path or " ").exists():
        raise TrainerError(f"reward {name}: no {path or 'path given'}; write {name}=PATH, of weights for {package}")
    try:
        return loader(path, device)
    except ImportError as error:
        raise TrainerError(f"reward {name} needs the package {package}: {' '.join(str(error).split())[:200]}") from None
    except Exception as error:  # whatever a package may raise at weights that are not its own
        raise TrainerError(f"reward {name}: {package} cannot load {path}: {' '.join(str(error).split())[:200]}") from None
