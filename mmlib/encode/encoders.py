"""Encoders that turn texts, pictures and other contents into features: CLIP, language models, any callable."""

import io
import math
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmlib import hub
from mmlib.files import fingerprint
from mmlib.names import DataError

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")  # without EPS, for which Pillow would run Ghostscript
_LONGEST = 100  # ratio of the sides: a thin picture passes Pillow's limit and becomes huge when its short side grows
_OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")  # numbers beside the weights in OpenAI's archives


def _without_words(text: str, left: Callable[[Sequence[bool]], Sequence[bool]]) -> str:
    words = text.split()
    return " ".join(compress(words, left([True] * len(words))))


@dataclass(frozen=True)
class Encoder:
    """Turns the contents of one modality into features.

    name: for the provenance. fingerprint: of all weights and settings that the features depend on.
    run: takes a list of loaded contents, returns (n, d), (n, T, d) or n tensors (T, d). A content whose features have no
        frame (T = 0), NaN or infinity counts as missing.
    load: takes a text or the bytes of a file, returns a content for `run`. It runs in a thread; a content for which it
        raises counts as missing.
    package: the PyPI package of the model.
    contextual: whether a frame of the features also tells of the other frames, as hidden states of a language model do.
    hide: takes a text and a function `left`, returns a content for `load` without the hidden words. `left` takes for each
        frame that the text would become whether it is a word, and returns which frames stay.
    words: what `hide` takes out, for the provenance.
    warning: what a reader of results must know about this encoder.
    """

    name: str
    fingerprint: str
    run: Callable[[list], Tensor | Sequence[Tensor]]
    load: Callable[[Any], Any] = lambda content: content
    package: str = "torch"
    contextual: bool = False
    hide: Callable[[str, Callable[[Sequence[bool]], Sequence[bool]]], Any] = _without_words
    words: str = "words between white space"
    warning: str = ""


def clip_encoders(model: str = "ViT-B-32", weights: str = "openai", *, device: str | None = None) -> dict[str, Encoder]:
    """The image and the text encoder of a CLIP model: one vector each, in the same space, not normalised.

    model: a name in open_clip.list_pretrained(), or local-dir:FOLDER with open_clip_config.json and weights.
    weights: a tag in that list, which is downloaded, or a checkpoint: a file of open_clip, or OpenAI's own archive, such as
        ViT-B-32.pt, which always runs with QuickGELU. For any other file the model decides: ViT-B-32 has GELU, and weights
        fine-tuned from OpenAI's need ViT-B-32-quickgelu. Not used with a folder.

    Raises DataError for a model that cannot be loaded.
    """
    open_clip = hub.open_clip()
    local = ":" in model
    name = model if local else model.replace("/", "-")
    tag = {} if local else open_clip.get_pretrained_cfg(name, weights)
    Image.init()  # registers its formats before the threads start
    device = _device(device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file, openai = (weights, False) if local or tag else _checkpoint(weights, Path(folder))
            quick = openai or tag.get("quick_gelu", False)
            net = open_clip.create_model(
                name,
                None if local else file,
                device=device,
                force_quick_gelu=quick,  # open_clip would only warn of the wrong activation
                require_pretrained=True,
            ).eval()
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as e:  # six libraries raise errors of their own
        remedy = "a name and tag of open_clip.list_pretrained(), a checkpoint as weights, or local-dir:FOLDER as model"
        raise DataError(f"CLIP {model!r} with weights {weights!r} cannot be loaded ({e}); give {remedy}") from e
    preprocessing = open_clip.get_model_preprocess_cfg(net)
    config = open_clip.transform.PreprocessCfg(**preprocessing)
    # Pictures stay bytes until they are on the device.
    *geometry, _, normalize = open_clip.transform.image_transform_v2(config, is_train=False).transforms

    def images(pictures: list[np.ndarray]) -> Tensor:
        pixels = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).contiguous()
        return net.encode_image(normalize(pixels.float().div_(255)))

    def texts(batch: list[str]) -> Tensor:
        return net.encode_text(tokenizer(batch).to(device))

    def load(content: bytes) -> np.ndarray:
        picture = _picture(content)
        for step in geometry:
            picture = step(picture)
        return np.asarray(picture)

    title = f"CLIP {model}" if local else f"CLIP {model} {weights}"
    warning = ""
    if not (local or tag or openai) and f"{name}-quickgelu" in open_clip.list_models():
        warning = f"{weights} runs with GELU; if it was trained with QuickGELU, as OpenAI's was, use {name}-quickgelu"
    settings = (open_clip.get_model_config(name), bool(quick), version("open_clip_torch"))
    parts = {"image": {}, "text": {}}
    for key, value in net.state_dict().items():
        parts["image" if key.startswith("visual.") else "text"][key] = value
    marks = {"image": fingerprint(parts["image"], (*settings, sorted(preprocessing.items())))}
    marks["text"] = fingerprint(parts["text"], (*settings, type(tokenizer).__name__, tokenizer.context_length))
    return {
        "image": Encoder(f"{title}, image vector", marks["image"], images, load, "open_clip_torch", warning=warning),
        "text": Encoder(f"{title}, text vector", marks["text"], texts, package="open_clip_torch", warning=warning),
    }


def tokens(model: str, max_tokens: int = 128, *, device: str | None = None) -> Encoder:
    """The last hidden states of a transformers model, one vector for each token, special tokens included.

    model: a folder with model and tokenizer, or a name on the hub. max_tokens: longer texts are cut, before words are hidden.

    Raises DataError for a model that cannot be loaded or reads fewer tokens.
    """
    transformers, device = hub.transformers(), _device(device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        net = transformers.AutoModel.from_pretrained(model, use_safetensors=True).to(device).eval()
    except (OSError, ValueError) as e:
        raise DataError(f"text model {model!r} is neither a folder with model and tokenizer nor on the hub") from e
    longest = min(tokenizer.model_max_length, getattr(net.config, "max_position_embeddings", math.inf))
    if not 0 < max_tokens <= longest:
        raise DataError(f"max_tokens is {max_tokens}; text model {model!r} reads 1 to {longest}")

    def hide(text: str, left: Callable[[Sequence[bool]], Sequence[bool]]) -> tuple[int, ...]:
        pieces = tokenizer(text, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
        return tuple(compress(pieces["input_ids"], left([not special for special in pieces["special_tokens_mask"]])))

    def run(batch: list[str] | list[tuple[int, ...]]) -> list[Tensor]:
        if isinstance(batch[0], str):
            inputs = tokenizer(batch, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        else:
            inputs = tokenizer.pad({"input_ids": [list(ids) for ids in batch]}, return_tensors="pt")
        states = net(**inputs.to(device)).last_hidden_state.cpu()
        return [state[mask] for state, mask in zip(states, inputs["attention_mask"].bool().cpu())]

    vocabulary = sorted(tokenizer.get_vocab().items())
    mark = fingerprint(net.state_dict(), (net.config.to_json_string(), repr(tokenizer), vocabulary, max_tokens))
    name = f"hidden states of {model}, {max_tokens} tokens at most"
    return Encoder(name, mark, run, package="transformers", contextual=True, hide=hide, words="word pieces")


def custom(
    run: Callable[[list], Tensor | Sequence[Tensor]], name: str, mark: str = "", load=None, contextual: bool = False
) -> Encoder:
    """Any torch callable as `Encoder`, whose docstring says what run, load and contextual mean.

    mark: a text to change whenever the features change; the weights of an nn.Module are part of the fingerprint anyway.

    Raises DataError for a plain function without a mark.
    """
    module = isinstance(run, nn.Module)
    if not mark and not module:
        raise DataError(f"encoder {name!r}: nothing tells its features from those of a later version; give it a mark")
    weights = {k: v.float() if v.is_floating_point() else v for k, v in run.state_dict().items()} if module else {}
    run = run.eval() if module else run
    more = {} if load is None else {"load": load}
    mark = fingerprint(weights, (name, mark, repr(run) if module else ""))
    return Encoder(name, mark, run, contextual=contextual, **more)


def _checkpoint(weights: str, folder: Path) -> tuple[str, bool]:
    """A file of weights that open_clip reads, and whether they are OpenAI's own archive.

    open_clip refuses TorchScript archives, as OpenAI's are: their weights become a file in `folder`. torch.jit.load
    builds no Python object from them, and all other files are read with weights_only=True.
    """
    if not zipfile.is_zipfile(weights):
        return weights, False
    with zipfile.ZipFile(weights) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return weights, False
    values = torch.jit.load(weights, map_location="cpu").state_dict()
    openai = all(name in values for name in _OPENAI_SIZES)
    for name in (*_OPENAI_SIZES, "attn_mask"):  # open_clip's models make their mask themselves
        values.pop(name, None)
    torch.save(dict(values), folder / "weights.pt")
    return str(folder / "weights.pt"), openai


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if max(image.size) > _LONGEST * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels are no picture")
    if image.mode in ("1", "P"):  # Pillow would scale these modes by picking single pixels
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image
