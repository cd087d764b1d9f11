#!/usr/bin/env python3
"""Writes a GGUF file of random weights of the 3B text shape for llama.cpp: Qwen2 architecture, tied head, no
vocabulary but its size.

    bench/peers/.venv/bin/python bench/peers/make_gguf.py --type bf16 --folder build/peers

Linear layers and the embedding are of the named type, norms and biases f32: the types that llama.cpp's own
quantizer gives a bf16 or Q8_0 file. A Q4_0 file's embedding is Q4_0, too. The values repeat: a few million
random ones are laid end to end from changing places, so that memory stays low and a Q8_0 file takes seconds.
Passes do not become faster by it; no cache holds as much.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np

from shapes import TextShape

TYPES = {kind: gguf.GGMLQuantizationType[kind.upper()] for kind in ("bf16", "q8_0", "q4_0")}
FILE_TYPES = {kind: gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"] for kind in TYPES}
POOL_VALUES = 1 << 22
SPREAD = 1 / 64  # values lie evenly within +-SPREAD, as dvlm bench's do


def tensors(shape: TextShape) -> dict[str, tuple[int, ...]]:
    """Name to shape, outermost dimension first."""
    query, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    out = {"token_embd.weight": (shape.vocab, shape.hidden), "output_norm.weight": (shape.hidden,)}
    for i in range(shape.layers):
        out |= {
            f"blk.{i}.attn_norm.weight": (shape.hidden,),
            f"blk.{i}.attn_q.weight": (query, shape.hidden),
            f"blk.{i}.attn_q.bias": (query,),
            f"blk.{i}.attn_k.weight": (kv, shape.hidden),
            f"blk.{i}.attn_k.bias": (kv,),
            f"blk.{i}.attn_v.weight": (kv, shape.hidden),
            f"blk.{i}.attn_v.bias": (kv,),
            f"blk.{i}.attn_output.weight": (shape.hidden, query),
            f"blk.{i}.ffn_norm.weight": (shape.hidden,),
            f"blk.{i}.ffn_gate.weight": (shape.intermediate, shape.hidden),
            f"blk.{i}.ffn_up.weight": (shape.intermediate, shape.hidden),
            f"blk.{i}.ffn_down.weight": (shape.hidden, shape.intermediate),
        }
    return out


class Pool:
    """Random values in the stored form of a type, as many bytes as asked for from changing places."""

    def __init__(self, kind: gguf.GGMLQuantizationType, rng: np.random.Generator):
        values = rng.uniform(-SPREAD, SPREAD, (POOL_VALUES // 4096, 4096)).astype(np.float32)
        self.bytes = np.ascontiguousarray(gguf.quants.quantize(values, kind)).view(np.uint8).reshape(-1)
        self.block, self.block_bytes = gguf.GGML_QUANT_SIZES[kind]
        self.rng = rng

    def byte_count(self, elements: int) -> int:
        return elements // self.block * self.block_bytes

    def take(self, elements: int) -> np.ndarray:
        start = int(self.rng.integers(len(self.bytes) // self.block_bytes)) * self.block_bytes
        return np.resize(np.roll(self.bytes, -start), self.byte_count(elements))


def write(path: Path, kind: str, shape: TextShape) -> None:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("random 3B shape")
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_eps)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("no_vocab")

    rng = np.random.default_rng(1)
    pool = Pool(TYPES[kind], rng)
    linear = {name: size for name, size in tensors(shape).items() if len(size) == 2}
    for name, size in tensors(shape).items():
        if name in linear:
            count = pool.byte_count(int(np.prod(size)))
            # Of a tensor given as bytes the writer wants the shape in bytes, too.
            stored = (size[0], pool.byte_count(size[1]))
            writer.add_tensor_info(name, stored, np.dtype(np.uint8), count, raw_dtype=TYPES[kind])
        else:
            writer.add_tensor_info(name, size, np.dtype(np.float32), 4 * size[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, size in tensors(shape).items():
        if name in linear:
            writer.write_tensor_data(pool.take(int(np.prod(size))))
        elif name.endswith("norm.weight"):
            writer.write_tensor_data(np.ones(size, np.float32))
        else:
            writer.write_tensor_data(rng.uniform(-SPREAD, SPREAD, size).astype(np.float32))
    writer.close()


def path_of(folder: Path, kind: str, layers: int) -> Path:
    return folder / f"random-3b-{layers}-layers-{kind}.gguf"


def ensure(folder: Path, kind: str, layers: int) -> Path:
    """The file's path; writes it unless it is there already."""
    path = path_of(folder, kind, layers)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        write(partial, kind, TextShape(layers=layers))
        partial.rename(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--type", choices=TYPES, required=True)
    parser.add_argument("--folder", type=Path, default=Path("build/peers"), help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=TextShape.layers, help="default: %(default)s")
    args = parser.parse_args()
    print(ensure(args.folder, args.type, args.layers))


if __name__ == "__main__":
    main()
