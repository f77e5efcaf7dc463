"""Writes a trained checkpoint as the package ships it: `vision.onnx`, `decoder.onnx`, `weights.json` and `hf/`.

    python training/export.py --seed 0 --model base --from training/out/seed0 --out src/safemlrm/models/weights/base

The network is written out as plain modules (no transformers code is traced), so that the graphs stay small and the same
across transformers versions. Weights are stored in fp16 and computed in fp32, opset 17.

    vision.onnx    pixels [B, 3, 128, 128] -> feats [B, 64, 128]
    decoder.onnx   ids [B, T] (image place k is id SIZE + k), feats [B, 0 or 64, 128], pos [B, T], mask [B, P + T],
                   past [2, 3, B, 4, P, 32] -> logits [B, SIZE] of the last place, present [2, 3, B, 4, P + T, 32]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch.nn import functional as F

from safemlrm import toylang
from safemlrm.models.embedded_runtime import HEAD_WIDTH, HEADS, IMAGE_TOKENS, LAYERS, PATCH, SIDE, WIDTH

SIZE = len(toylang.vocabulary())
GRID, TOWER_LAYERS = SIDE // PATCH, 4
Weights = dict[str, torch.Tensor]


class _Plain(torch.nn.Module):
    """Holds weights under flat names and finds them by the end of their checkpoint name."""

    def __init__(self, weights: Weights, parts: tuple[str, ...], eps: float) -> None:
        super().__init__()
        self._part = {name: w.float() for name, w in weights.items() if any(part in name for part in parts)}
        self.eps = eps

    def keep(self, name: str, ending: str, transpose: bool = False) -> None:
        (found,) = [w for full, w in self._part.items() if full.endswith(ending)]
        setattr(self, name, torch.nn.Parameter(found.T.contiguous() if transpose else found.clone()))

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        out = x @ getattr(self, name + "_w")
        return out + getattr(self, name + "_b") if hasattr(self, name + "_b") else out


def _heads(x: torch.Tensor) -> torch.Tensor:
    """[rows, places, width] -> [rows, heads, places, width of a head]."""
    return x.reshape(x.shape[0], x.shape[1], HEADS, HEAD_WIDTH).transpose(1, 2)


class Tower(_Plain):
    """CLIP's vision tower without its last norm, the class token dropped, and LLaVA's projector."""

    def __init__(self, weights: Weights, eps: float) -> None:
        super().__init__(weights, ("vision_tower", "projector"), eps)
        self.keep("cls", "class_embedding")
        self.keep("places", "position_embedding.weight")
        (patch,) = [w for n, w in self._part.items() if n.endswith("patch_embedding.weight")]
        self.patch = torch.nn.Parameter(patch.reshape(WIDTH, -1).T.contiguous())
        norms = {"pre": "pre_layrnorm"}
        linears = {f"p{i}": f"linear_{i}" for i in (1, 2)}
        for n in range(TOWER_LAYERS):
            at = f"layers.{n}."
            norms |= {f"n1_{n}": at + "layer_norm1", f"n2_{n}": at + "layer_norm2"}
            linears |= {f"{x}{n}": f"{at}self_attn.{x}_proj" for x in ("q", "k", "v", "out")}
            linears |= {f"f1_{n}": at + "mlp.fc1", f"f2_{n}": at + "mlp.fc2"}
        for name, ending in (norms | linears).items():
            self.keep(name + "_w", ending + ".weight", transpose=name in linears)
            self.keep(name + "_b", ending + ".bias")

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), getattr(self, name + "_w"), getattr(self, name + "_b"), self.eps)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        rows = pixels.shape[0]
        cut = pixels.reshape(rows, 3, GRID, PATCH, GRID, PATCH).permute(0, 2, 4, 1, 3, 5)
        x = cut.reshape(rows, IMAGE_TOKENS, 3 * PATCH * PATCH) @ self.patch
        x = torch.cat([self.cls.reshape(1, 1, WIDTH) + torch.zeros_like(x[:, :1]), x], 1) + self.places
        x = self.norm("pre", x)
        for n in range(TOWER_LAYERS):
            y = self.norm(f"n1_{n}", x)
            q, k, v = (_heads(self.linear(f"{w}{n}", y)) for w in "qkv")
            mixed = torch.softmax(q @ k.transpose(-1, -2) * HEAD_WIDTH**-0.5, -1) @ v
            x = x + self.linear(f"out{n}", mixed.transpose(1, 2).reshape(rows, IMAGE_TOKENS + 1, WIDTH))
            y = self.linear(f"f1_{n}", self.norm(f"n2_{n}", x))
            x = x + self.linear(f"f2_{n}", y * torch.sigmoid(1.702 * y))
        return self.linear("p2", F.gelu(self.linear("p1", x[:, 1:])))


class Decoder(_Plain):
    """Llama with rotary positions and a KV cache; the logits of the last place only."""

    def __init__(self, weights: Weights, eps: float, theta: float) -> None:
        super().__init__(weights, ("language_model", "lm_head"), eps)
        self.keep("embed", "embed_tokens.weight")
        self.keep("norm", "model.norm.weight")
        self.keep("head_w", "lm_head.weight", transpose=True)
        for n in range(LAYERS):
            at = f"layers.{n}."
            for name in ("input_layernorm", "post_attention_layernorm"):
                self.keep(f"{name}{n}", f"{at}{name}.weight")
            for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"):
                self.keep(f"{name.split('.')[1]}{n}_w", f"{at}{name}_proj.weight", transpose=True)
        self.register_buffer("inverse", theta ** (-torch.arange(0, HEAD_WIDTH, 2).float() / HEAD_WIDTH))

    def rms(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * getattr(self, name)

    def forward(
        self, ids: torch.Tensor, feats: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor, past: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, new = ids.shape
        before = past.shape[4]
        table = torch.cat([self.embed[None].expand(rows, SIZE, WIDTH), feats], 1)
        x = torch.gather(table, 1, ids[..., None].expand(rows, new, WIDTH))
        angle = pos[..., None].float() * self.inverse
        angle = torch.cat([angle, angle], -1)[:, None]
        half = HEAD_WIDTH // 2

        def turn(y: torch.Tensor) -> torch.Tensor:
            return y * angle.cos() + torch.cat([-y[..., half:], y[..., :half]], -1) * angle.sin()

        keys, queries = torch.arange(before + new)[None, :], before + torch.arange(new)[:, None]
        seen = (keys <= queries)[None, None].float() * mask[:, None, None, :].float()
        bias, kept_k, kept_v = (1.0 - seen) * -1e9, [], []
        for n in range(LAYERS):
            y = self.rms(f"input_layernorm{n}", x)
            q, k, v = (_heads(self.linear(f"{w}{n}", y)) for w in "qkv")
            k, v = torch.cat([past[0, n], turn(k)], 2), torch.cat([past[1, n], v], 2)
            kept_k.append(k)
            kept_v.append(v)
            mixed = torch.softmax(turn(q) @ k.transpose(-1, -2) * HEAD_WIDTH**-0.5 + bias, -1) @ v
            x = x + self.linear(f"o{n}", mixed.transpose(1, 2).reshape(rows, new, WIDTH))
            y = self.rms(f"post_attention_layernorm{n}", x)
            x = x + self.linear(f"down{n}", F.silu(self.linear(f"gate{n}", y)) * self.linear(f"up{n}", y))
        return self.linear("head", self.rms("norm", x[:, -1])), torch.stack([torch.stack(kept_k), torch.stack(kept_v)])


def _halve(path: Path) -> None:
    """Keep large weights as fp16 with a cast to fp32 (onnxruntime folds the cast when it loads the file)."""
    model, casts = onnx.load(path), []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= 512:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    onnx.save(model, path)


def export(checkpoint: Path, out: Path, about: dict[str, object]) -> None:
    """Write both graphs, the checkpoint under `hf/`, and `weights.json` (hash of the graphs, and `about`)."""
    weights = load_file(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    theta = text.get("rope_theta") or text["rope_parameters"]["rope_theta"]
    tower = Tower(weights, vision["layer_norm_eps"]).eval()
    decoder = Decoder(weights, text["rms_norm_eps"], theta).eval()
    out.mkdir(parents=True, exist_ok=True)
    rows, new, past = 2, 70, 3
    example = (
        torch.randint(0, SIZE + IMAGE_TOKENS, (rows, new)),
        torch.randn(rows, IMAGE_TOKENS, WIDTH),
        torch.arange(new)[None].repeat(rows, 1),
        torch.ones(rows, past + new, dtype=torch.long),
        torch.randn(2, LAYERS, rows, HEADS, past, HEAD_WIDTH),
    )
    free = {"ids": {0: "b", 1: "t"}, "feats": {0: "b", 1: "n"}, "pos": {0: "b", 1: "t"}, "mask": {0: "b", 1: "pt"}}
    free |= {"past": {2: "b", 4: "p"}, "logits": {0: "b"}, "present": {2: "b", 4: "pt"}}
    with torch.no_grad():
        torch.onnx.export(
            tower, (torch.randn(rows, 3, SIDE, SIDE),), str(out / "vision.onnx"), dynamo=False, opset_version=17,
            input_names=["pixels"], output_names=["feats"], dynamic_axes={"pixels": {0: "b"}, "feats": {0: "b"}},
        )  # fmt: skip
        torch.onnx.export(
            decoder, example, str(out / "decoder.onnx"), dynamo=False, opset_version=17,
            input_names=["ids", "feats", "pos", "mask", "past"], output_names=["logits", "present"], dynamic_axes=free,
        )  # fmt: skip
    digest = hashlib.sha256()
    for name in ("vision.onnx", "decoder.onnx"):
        _halve(out / name)
        digest.update((out / name).read_bytes())
    shutil.copytree(checkpoint, out / "hf", dirs_exist_ok=True)
    (out / "weights.json").write_text(json.dumps({"sha256": digest.hexdigest(), **about}, indent=1) + "\n")


def main() -> None:
    """Read the command line and export one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--model", choices=("base", "tuned", "reasoner"), required=True)
    parser.add_argument("--from", dest="folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    about = {"model": given.model, "seed": given.seed, "language": toylang.pin(), "demonstration": True}
    export(given.folder / given.model, given.out, about)
    print({p.name: p.stat().st_size for p in sorted(given.out.iterdir()) if p.is_file()})


if __name__ == "__main__":
    main()
