#!/usr/bin/env python3
"""Compares `dvlm run --decoder ar --precision f32` with Hugging Face transformers, token by token.

    python tools/checks/check_tiny.py --model models/dvlm-tiny --data test/data.jsonl --dvlm build/apps/dvlm/dvlm

Builds transformers' own Qwen2_5_VLForConditionalGeneration from the values of the folder's config.json, loads the
folder's weights in f32, and decodes greedily the first --scenes lines of a JSONL file. A line holds
{"messages": [...]} with image paths relative to the file; a last assistant message, the answer, is left out.
Prints "50 of 50 identical", or the first difference, and exits with status 0 or 1. Without --dvlm it only writes
transformers' text (--out). Pictures go through the slow Qwen2VLImageProcessor, text through the folder's
tokenizer.json and chat template. Needs torch 2.13.0, transformers 4.57.1, tokenizers, safetensors, pillow, jinja2.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from PIL import Image
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

IMAGE_PAD = "<|image_pad|>"


def load_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def transformers_config(written):
    text = dict(written.get("text_config", written))
    for key in ("vision_config", "text_config", "architectures", "model_type", "quantization_config"):
        text.pop(key, None)
    if rope := text.pop("rope_parameters", None):
        text |= {"rope_theta": rope["rope_theta"], "rope_scaling": rope}
    heads = text["num_attention_heads"]
    if text.pop("head_dim", text["hidden_size"] // heads) * heads != text["hidden_size"]:
        sys.exit("transformers' class knows no head_dim other than hidden_size / num_attention_heads")
    tied = text.setdefault("tie_word_embeddings", written.get("tie_word_embeddings", False))
    vision = {k: v for k, v in written["vision_config"].items() if k != "model_type"}
    special = {k: written[k] for k in ("image_token_id", "video_token_id", "vision_start_token_id",
                                       "vision_end_token_id") if k in written}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied, **special)
    config._attn_implementation = "eager"
    return config


def style_a(name):
    """The names of transformers' modules, from those of either published style."""
    if name.startswith("visual."):
        return "model." + name
    if name.startswith("model.") and not name.startswith(("model.language_model.", "model.visual.")):
        return "model.language_model." + name[len("model."):]
    return name


def load_model(folder):
    config = transformers_config(load_json(folder / "config.json"))
    model = Qwen2_5_VLForConditionalGeneration(config).float().eval()
    weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            weights |= {style_a(name): file.get_tensor(name).float() for name in file.keys()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    model.tie_weights()
    tied = config.text_config.tie_word_embeddings
    missing = [name for name in missing if not (tied and name == "lm_head.weight")]
    if missing or unexpected:
        sys.exit(f"{folder}: weights do not fit transformers' class: missing {missing}, unexpected {unexpected}")
    return model


def read_stop_tokens(folder):
    stop = set()
    written = load_json(folder / "config.json")
    for source in (written, written.get("text_config", {}), load_json(folder / "generation_config.json")):
        value = source.get("eos_token_id", [])
        stop |= set(value if isinstance(value, list) else [value])
    return stop


def read_template(folder):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    path = folder / "chat_template.jinja"
    source = path.read_text() if path.exists() else load_json(folder / "tokenizer_config.json").get("chat_template")
    if not source:
        sys.exit(f"{folder}: there is no chat template")
    return environment.from_string(source)


def open_image(path):
    """As qwen-vl-utils: transparent pictures on white, everything else converted."""
    image = Image.open(path)
    if image.mode != "RGBA":
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image.split()[3])
    return canvas


class Reference:
    """transformers' answer to a conversation."""

    def __init__(self, folder):
        self.model = load_model(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.template = read_template(folder)
        self.stop = read_stop_tokens(folder)
        settings = load_json(folder / "preprocessor_config.json")
        keys = ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size", "image_mean",
                "image_std")
        self.processor = Qwen2VLImageProcessor(**{k: settings[k] for k in keys if k in settings})

    def inputs(self, messages):
        paths = [part["image"] for message in messages if isinstance(message["content"], list)
                 for part in message["content"] if part["type"] == "image"]
        text = self.template.render(messages=messages, add_generation_prompt=True)
        pictures = {}
        if paths:
            out = self.processor([open_image(path) for path in paths], return_tensors="pt")
            pictures = {"pixel_values": out["pixel_values"], "image_grid_thw": out["image_grid_thw"]}
            parts = text.split(IMAGE_PAD)
            if len(parts) != len(paths) + 1:
                sys.exit(f"{len(paths)} images, but the rendered text has {len(parts) - 1} pads")
            counts = (out["image_grid_thw"].prod(-1) // self.processor.merge_size**2).tolist()
            text = parts[0] + "".join(IMAGE_PAD * n + part for n, part in zip(counts, parts[1:]))
        return self.tokenizer.encode(text, add_special_tokens=False).ids, pictures

    @torch.no_grad()
    def answer(self, messages, max_tokens):
        """Greedy tokens, the lead of each over the runner-up, and the length of the prompt."""
        ids, pictures = self.inputs(messages)
        where, delta = self.model.model.get_rope_index(torch.tensor([ids]), pictures.get("image_grid_thw"))
        delta, cache = int(delta.reshape(-1)[0]), DynamicCache(config=self.model.config.text_config)
        chosen, margins, fed = [], [], ids
        while len(chosen) < max_tokens:
            logits = self.model(input_ids=torch.tensor([fed]), position_ids=where, past_key_values=cache,
                                use_cache=True, **pictures).logits[0, -1]
            top = logits.topk(2).values
            margins.append(float(top[0] - top[1]))
            chosen.append(int(logits.argmax()))
            if chosen[-1] in self.stop:
                break
            where = torch.full((3, 1, 1), len(ids) + len(chosen) - 1 + delta)
            fed, pictures = chosen[-1:], {}
        return chosen, margins, len(ids)


def read_scenes(path, count):
    """The conversations of the first `count` lines, image paths absolute, without a final answer."""
    scenes = []
    with open(path) as file:
        for line in file:
            if len(scenes) == count:
                break
            messages = json.loads(line)["messages"]
            if messages[-1]["role"] == "assistant":
                messages = messages[:-1]
            for message in messages:
                for part in message["content"] if isinstance(message["content"], list) else []:
                    if part["type"] == "image":
                        part["image"] = str((path.parent / part["image"]).resolve())
            scenes.append(messages)
    if not scenes:
        sys.exit(f"{path}: no scenes")
    return scenes


def run_dvlm(program, folder, messages, max_tokens):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(messages, file)
        file.flush()
        command = [program, "run", "--model", str(folder), "--messages", file.name, "--decoder", "ar", "--precision",
                   "f32", "--json", "--max-tokens", str(max_tokens)]
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {result.returncode}: {result.stderr.strip()}")
    return json.loads(result.stdout)


def difference(tokenizer, expected, margins, prompt_tokens, found):
    """One sentence about the first difference, or ''."""
    if found["usage"]["prompt_tokens"] != prompt_tokens:
        return f"the prompt has {prompt_tokens} tokens, dvlm counts {found['usage']['prompt_tokens']}"
    tokens = found["tokens"]
    if tokens == expected:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(expected, tokens)) if a != b), min(len(expected), len(tokens)))

    def show(ids):
        if at >= len(ids):
            return "the end"
        return f"{ids[at]} {tokenizer.decode([ids[at]], skip_special_tokens=False)!r}"

    lead = f"{margins[at]:.3g}" if at < len(margins) else "-"
    return f"token {at}: transformers {show(expected)} (leads by {lead}), dvlm {show(tokens)}"


def main():
    parser = argparse.ArgumentParser(description="Compares dvlm's greedy text with transformers'.")
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--data", type=Path, required=True, help="JSONL file of test scenes")
    parser.add_argument("--dvlm", help="the dvlm program; left out: only write transformers' text")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--out", type=Path, help="write transformers' tokens and text here, a JSON line per scene")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    reference, lines, differences, tokens, lead = Reference(arguments.model), [], [], 0, float("inf")
    scenes = read_scenes(arguments.data, arguments.scenes)
    for number, messages in enumerate(scenes):
        expected, margins, prompt_tokens = reference.answer(messages, arguments.max_tokens)
        tokens, lead = tokens + len(expected), min([lead, *margins])
        text = reference.tokenizer.decode(expected)
        lines.append({"text": text, "tokens": expected, "prompt_tokens": prompt_tokens})
        if arguments.dvlm:
            found = run_dvlm(arguments.dvlm, arguments.model, messages, arguments.max_tokens)
            if what := difference(reference.tokenizer, expected, margins, prompt_tokens, found):
                differences.append(f"scene {number}: {what}")
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    print(f"{tokens} tokens by transformers, every one leads by at least {lead:.3g}")
    if arguments.dvlm:
        print(f"{len(scenes) - len(differences)} of {len(scenes)} identical")
        if differences:
            print(differences[0])
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
