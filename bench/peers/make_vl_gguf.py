"""Writes random weights of the 3B shape as the two GGUF files of a Qwen2.5-VL for llama.cpp: the text model in
Q8_0 or Q4_0 (alone also as a Qwen2, which OpenVINO reads, too) with a vocabulary of bytes and made-up words, and the
vision tower with its merger in Q8_0, but F16 where rows are not whole blocks of it, as llama.cpp's converter has it."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from make_gguf import SPREAD, Pool, tensors
from shapes import TextShape, VisionShape

TYPES = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}
FILE_TYPES = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in GPT-2's vocabularies: printable ones for themselves, the others from
    U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


def add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    words = byte_letters()
    words += [f"word{i}" for i in range(size - len(words) - len(SPECIAL))] + SPECIAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    normal = [gguf.TokenType.NORMAL] * (size - len(SPECIAL))
    writer.add_token_types(normal + [gguf.TokenType.CONTROL] * len(SPECIAL))
    writer.add_token_merges([f"{words[0]} {words[1]}"])
    writer.add_eos_token_id(words.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


class Tensors:
    """Random tensors: matrices of a type, or F16 where their rows are no whole blocks of it; the others F32."""

    def __init__(self, writer: gguf.GGUFWriter, kind: gguf.GGMLQuantizationType):
        self.writer, self.kind = writer, kind
        self.rng = np.random.default_rng(1)
        self.pools = {each: Pool(each, self.rng) for each in (kind, gguf.GGMLQuantizationType.F16)}

    def add(self, name: str, size: tuple[int, ...]) -> None:
        if len(size) == 2:
            kind = self.kind if size[1] % self.pools[self.kind].block == 0 else gguf.GGMLQuantizationType.F16
            stored = (size[0], self.pools[kind].byte_count(size[1]))
            data = self.pools[kind].take(int(np.prod(size))).reshape(stored)
            self.writer.add_tensor(name, data, raw_shape=stored, raw_dtype=kind)
        elif len(size) == 1 and name.endswith(("norm.weight", "ln1.weight", "ln2.weight", "post_ln.weight")):
            self.writer.add_tensor(name, np.ones(size, np.float32))
        else:
            self.writer.add_tensor(name, self.rng.uniform(-SPREAD, SPREAD, size).astype(np.float32))

    def write(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def write_text(path: Path, kind: str, shape: TextShape, architecture: str = "qwen2vl") -> None:
    writer = gguf.GGUFWriter(path, architecture, use_temp_file=True)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_context_length(shape.max_positions)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.rms_eps)
    writer.add_rope_freq_base(shape.rope_theta)
    if architecture == "qwen2vl":
        writer.add_rope_dimension_sections([*shape.mrope_section, 0])
    writer.add_vocab_size(shape.vocab)
    add_vocabulary(writer, shape.vocab)
    out = Tensors(writer, TYPES[kind])
    for name, size in tensors(shape).items():
        out.add(name, size)
    out.write()


def vision_tensors(shape: VisionShape) -> dict[str, tuple[int, ...]]:
    wide, merged = shape.hidden, 4 * shape.hidden
    patch = (wide, 3, shape.patch, shape.patch)
    out = {"v.patch_embd.weight": patch, "v.patch_embd.weight.1": patch, "v.post_ln.weight": (wide,)}
    out |= {"mm.0.weight": (merged, merged), "mm.0.bias": (merged,)}
    out |= {"mm.2.weight": (shape.out_hidden, merged), "mm.2.bias": (shape.out_hidden,)}
    for i in range(shape.depth):
        out |= {f"v.blk.{i}.ln{n}.weight": (wide,) for n in (1, 2)}
        layers = {f"attn_{part}": (wide, wide) for part in ("q", "k", "v", "out")}
        layers |= {f"ffn_{part}": (shape.intermediate, wide) for part in ("gate", "up")}
        layers["ffn_down"] = (wide, shape.intermediate)
        for name, size in layers.items():
            out |= {f"v.blk.{i}.{name}.weight": size, f"v.blk.{i}.{name}.bias": size[:1]}
    return out


def write_vision(path: Path, shape: VisionShape) -> None:
    writer = gguf.GGUFWriter(path, "clip", use_temp_file=True)
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(shape.full_attention_blocks[0] + 1)
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(shape.patch)
    writer.add_vision_spatial_merge_size(2)
    writer.add_vision_embedding_length(shape.hidden)
    writer.add_vision_feed_forward_length(shape.intermediate)
    writer.add_vision_block_count(shape.depth)
    writer.add_vision_head_count(shape.heads)
    writer.add_vision_projection_dim(shape.out_hidden)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean([0.48145466, 0.4578275, 0.40821073])
    writer.add_vision_image_std([0.26862954, 0.26130258, 0.27577711])
    out = Tensors(writer, gguf.GGMLQuantizationType.Q8_0)
    for name, size in vision_tensors(shape).items():
        out.add(name, size)
    out.write()


def ensure_file(path: Path, write: Callable[[Path], None]) -> Path:
    """The path, written unless it is there already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        write(partial)
        partial.rename(path)
    return path


def ensure_qwen2(folder: Path, kind: str) -> Path:
    return ensure_file(folder / f"random-3b-qwen2-{kind}.gguf", lambda to: write_text(to, kind, TextShape(), "qwen2"))


def ensure(folder: Path, kind: str) -> tuple[Path, Path]:
    """Paths of the text model and the vision tower."""
    text = ensure_file(folder / f"random-3b-vl-{kind}.gguf", lambda to: write_text(to, kind, TextShape()))
    return text, ensure_file(folder / "random-3b-vision-q8_0.gguf", lambda to: write_vision(to, VisionShape()))
