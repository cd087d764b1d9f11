"""Writes a checkpoint as the two GGUF files that llama.cpp reads: text model and vision tower. Needs gguf (PyPI)."""

import json
import pathlib
import struct

import gguf
import numpy as np


def tensors_of(path):
    """(name, float32 array) of each tensor of a safetensors file in BF16 or F32."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = np.frombuffer(file.read(), np.uint8)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] == "F32":
            values = raw.view(np.float32)
        else:
            raise SystemExit(f"{name} is {entry['dtype']}, not BF16 or F32")
        yield name, values.reshape(entry["shape"])


def write(writer, tensors):
    for name, values in tensors:
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def renamed(names, name, values):
    stem, _, kind = name.rpartition(".")
    found = names.get_name(stem)
    if found is None:
        raise SystemExit(f"llama.cpp has no tensor for {name}")
    return f"{found}.{kind}", values


def add_tokenizer(writer, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {entry["id"]: entry for entry in tokenizer["added_tokens"]}
    texts = {i: text for text, i in tokenizer["model"]["vocab"].items()} | {i: e["content"] for i, e in added.items()}
    vocabulary = json.loads((folder / "config.json").read_text())["text_config"]["vocab_size"]
    tokens = [texts.get(i, f"[PAD{i}]") for i in range(vocabulary)]
    kinds = [
        gguf.TokenType.UNUSED if i not in texts else gguf.TokenType.CONTROL if added.get(i, {}).get("special") else gguf.TokenType.NORMAL
        for i in range(vocabulary)
    ]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    stop = next(i for i, text in texts.items() if text == "<|im_end|>")
    writer.add_eos_token_id(stop)
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))


def write_text(folder, config, tensors, path):
    text = config["text_config"]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN2VL])
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_theta"])
    writer.add_rope_dimension_sections([*text["rope_scaling"]["mrope_section"], 0])
    writer.add_vocab_size(text["vocab_size"])
    add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, text["num_hidden_layers"])
    write(writer, (renamed(names, name.replace("model.language_model.", "model."), values) for name, values in tensors))


def split(name, values):
    """Joined tensors of the checkpoint apart, as llama.cpp has them."""
    if ".qkv." in name:
        for letter, part in zip("qkv", np.split(values, 3)):
            yield name.replace("qkv", letter), part
    elif name.endswith("patch_embed.proj.weight"):
        yield "v.patch_embd.weight", values[:, :, 0]
        yield "v.patch_embd.weight.1", values[:, :, 1]
    else:
        yield name, values


def write_vision(folder, config, tensors, path):
    vision, pictures = config["vision_config"], json.loads((folder / "preprocessor_config.json").read_text())
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_use_silu(True)
    whole = vision["fullatt_block_indexes"]
    writer.add_vision_n_wa_pattern(whole[0] + 1)
    if any(b - a != whole[0] + 1 for a, b in zip(whole, whole[1:])):
        raise SystemExit(f"llama.cpp knows no such order of windows: {whole}")
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_projection_dim(vision["out_hidden_size"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean(pictures["image_mean"])
    writer.add_vision_image_std(pictures["image_std"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, vision["depth"])
    parts = (part for name, values in tensors for part in split(name.removeprefix("model."), values))
    write(writer, (part if part[0].startswith("v.") else renamed(names, *part) for part in parts))


def write_gguf(folder, to):
    """Returns the paths of both files, in F32."""
    folder, to = pathlib.Path(folder), pathlib.Path(to)
    config = json.loads((folder / "config.json").read_text())
    tensors = dict(tensors_of(folder / "model.safetensors"))
    seen = {name for name in tensors if ".visual." in name}
    text, vision = to / "text.gguf", to / "vision.gguf"
    write_text(folder, config, [(n, v) for n, v in tensors.items() if n not in seen], text)
    write_vision(folder, config, [(n, v) for n, v in tensors.items() if n in seen], vision)
    return text, vision
