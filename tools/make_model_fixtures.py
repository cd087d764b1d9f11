#!/usr/bin/env python3
"""Writes tests/fixtures/model/ and model-fp8/: small random Qwen2.5-VL checkpoints and what Hugging Face
transformers computes, the latter with linear layers that emulate W8A8 FP8.

    python tools/make_model_fixtures.py [NAME ...]

Made with Python 3.11, torch 2.13.0 (CPU), transformers 4.57.1, safetensors 0.8.0, numpy. Each folder is a model
(config.json, weights) with one file per case: prompt, patches, positions, windows, image features, logits, 64
greedy tokens, and for some a bidirectional draft block and bfloat16 logits. Everything is computed in f32 with
eager attention from weights that the stored type holds exactly. Weights are random, with a spread that lets
every layer matter; of several prompts the first is taken whose greedy tokens all win by GREEDY_MARGIN, so that
rounding cannot change them, and do not fall into a loop.

Positions: transformers 4.57.1 casts second_per_grid_ts to an integer before it multiplies, so 0.5 freezes time
(and 1.5 becomes 1). The model was trained with the product in float, truncated afterwards (transformers 4.49).
positions() is that form; it is checked against transformers wherever second_per_grid is whole, and it is passed
as position_ids everywhere.
"""

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
GREEDY_TOKENS, GREEDY_MARGIN, DRAFT_TOKENS = 64, 2e-3, 8
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass
class Picture:
    grid: tuple[int, int, int]
    seconds: float = 0.0  # per temporal patch; 0: an image
    before: int = 2  # text tokens in front of it


@dataclass
class Case:
    name: str
    pictures: list[Picture] = field(default_factory=list)
    after: int = 6  # text tokens behind the last picture
    draft: bool = False
    bf16: bool = False


@dataclass
class Fixture:
    name: str
    cases: list[Case]
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    section: tuple[int, int, int] = (2, 3, 3)
    layers: int = 2
    inner: int = 48
    vocab: int = 240
    tied: bool = True
    vision_hidden: int = 40
    vision_heads: int = 2
    vision_inner: int = 36
    depth: int = 3
    full: tuple[int, ...] = (1,)
    patch: int = 4
    window: int = 32
    store: str = "BF16"
    style: str = "A"  # weight names
    nested: bool = True  # config.json
    rope_parameters: bool = False  # config.json as newer transformers write it
    shards: int = 1
    theta: float = 1e6
    tokens_per_second: int = 2
    seed: int = 1  # of the weights
    fp8: bool = False  # W8A8 linears in both towers; written to model-fp8
    margin: float = GREEDY_MARGIN


FIXTURES = [
    Fixture("gqa2-head16-windows", [
        Case("ragged", [Picture((1, 10, 12))], draft=True, bf16=True),
        Case("video", [Picture((3, 4, 4), 1.0)]),
        Case("video-half-second", [Picture((3, 4, 4), 0.5)], draft=True),
        Case("text", after=23),
    ]),
    Fixture("gqa1-head32-patch14", [Case("image", [Picture((1, 4, 6))])], heads=2, kv_heads=2, section=(4, 6, 6),
            patch=14, window=112, tied=False, style="B", nested=False, vision_hidden=24, depth=2),
    Fixture("gqa4-head16-f32", [Case("flat", [Picture((1, 2, 14))]), Case("one-token", after=1)], kv_heads=1,
            store="F32", vision_hidden=16, depth=2, full=(0,), inner=36),
    Fixture("gqa8-head16-shards", [Case("two-images", [Picture((1, 6, 10)), Picture((1, 4, 2), before=3)],
                                        draft=True)],
            hidden=128, heads=8, kv_heads=1, inner=32, shards=3, style="B", vision_hidden=24, vision_heads=3, depth=2,
            full=()),
    Fixture("gqa2-head64", [Case("images-and-video", [Picture((1, 4, 4)), Picture((2, 4, 6), 1.0, 1),
                                                      Picture((1, 2, 2), before=0)])],
            hidden=128, heads=2, kv_heads=1, section=(8, 12, 12), inner=24, store="F16", vision_hidden=20,
            vision_heads=1, depth=2, full=(0, 1), rope_parameters=True),
    Fixture("gqa1-head128", [Case("ragged", [Picture((1, 6, 14))])], hidden=128, heads=1, kv_heads=1, layers=1,
            section=(16, 24, 24), inner=32, vision_hidden=24, vision_heads=1, depth=2, nested=False),
    Fixture("gqa2-head32-vision80", [Case("image", [Picture((1, 10, 6))])], heads=2, kv_heads=1, section=(4, 6, 6),
            vision_hidden=80, vision_heads=1, vision_inner=30, depth=1, full=(), theta=1e4),
    Fixture("gqa4-head20-odd", [Case("video", [Picture((3, 6, 4), 2.0)]),
                                Case("image", [Picture((1, 2, 2)), Picture((1, 2, 2), before=0)])],
            hidden=80, heads=4, kv_heads=1, section=(2, 4, 4), inner=52, vocab=231, vision_hidden=36, vision_heads=1,
            vision_inner=30, patch=6, window=24, depth=2, tokens_per_second=4, style="B", nested=False, shards=2),
]


# An e4m3 input may round the other way after sums in another order: these winners lead by more.
FIXTURES += [
    Fixture("gqa2-head16", [Case("image", [Picture((1, 6, 10))], draft=True), Case("text", after=23)], fp8=True,
            depth=2, margin=0.05),
    Fixture("gqa4-head20-odd", [Case("video", [Picture((2, 4, 4), 1.0)])], hidden=80, kv_heads=1, section=(2, 4, 4),
            inner=51, vocab=231, vision_hidden=36, vision_heads=1, vision_inner=29, patch=6, window=24, depth=2,
            tied=False, style="B", nested=False, fp8=True, margin=0.05),
]


def token_ids(fixture):
    v = fixture.vocab
    return {"image": v - 10, "video": v - 9, "start": v - 8, "end": v - 7, "im_end": v - 6, "mask": v - 5}


def config_json(fixture):
    ids = token_ids(fixture)
    text = {
        "vocab_size": fixture.vocab, "hidden_size": fixture.hidden, "intermediate_size": fixture.inner,
        "num_hidden_layers": fixture.layers, "num_attention_heads": fixture.heads,
        "num_key_value_heads": fixture.kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "max_position_embeddings": 4096, "use_sliding_window": False,
        "sliding_window": 64, "max_window_layers": 1,
    }
    rope = {"mrope_section": list(fixture.section)}
    if fixture.rope_parameters:
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": fixture.theta, **rope}
    else:
        text |= {"rope_theta": fixture.theta, "rope_scaling": {"type": "mrope", **rope}}
    vision = {
        "depth": fixture.depth, "hidden_size": fixture.vision_hidden, "intermediate_size": fixture.vision_inner,
        "num_heads": fixture.vision_heads, "out_hidden_size": fixture.hidden, "in_chans": 3,
        "patch_size": fixture.patch, "spatial_patch_size": fixture.patch, "temporal_patch_size": 2,
        "spatial_merge_size": 2, "window_size": fixture.window, "fullatt_block_indexes": list(fixture.full),
        "tokens_per_second": fixture.tokens_per_second, "hidden_act": "silu",
    }
    top = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration" if not fixture.nested
                          else "Fast_dVLMForConditionalGeneration"],
        "model_type": "qwen2_5_vl" if not fixture.nested else "fast_dvlm",
        "image_token_id": ids["image"], "video_token_id": ids["video"], "vision_start_token_id": ids["start"],
        "vision_end_token_id": ids["end"], "eos_token_id": ids["im_end"], "bd_size": DRAFT_TOKENS,
        "tie_word_embeddings": fixture.tied,
    }
    if fixture.fp8:
        top["quantization_config"] = {"quant_method": "w8a8_fp8", "is_dynamic": False, "ignore": []}
    return top | ({"text_config": text} if fixture.nested else text) | {"vision_config": vision}


def transformers_config(fixture):
    written = config_json(fixture)
    text = dict(written.get("text_config", written))
    text = {k: v for k, v in text.items() if k not in ("vision_config", "architectures", "model_type",
                                                       "rope_parameters")}
    text |= {"rope_theta": fixture.theta, "tie_word_embeddings": fixture.tied,
             "rope_scaling": {"type": "mrope", "mrope_section": list(fixture.section)}}
    ids = token_ids(fixture)
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=written["vision_config"], image_token_id=ids["image"],
        video_token_id=ids["video"], vision_start_token_id=ids["start"], vision_end_token_id=ids["end"],
        tie_word_embeddings=fixture.tied)
    config._attn_implementation = "eager"
    return config


def random_weights(model, fixture, seed):
    """Fills the parameters so that no term of the network is negligible and all fit the stored type."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or "ln_q" in name:
            value = 1.0 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 3.0 / fixture.hidden**0.5 * noise
        else:
            value = noise / (parameter[0].numel() ** 0.5)
            if any(part in name for part in ("q_proj", "k_proj", "o_proj", "down_proj")):
                value = 2.0 * value  # attention that chooses, layers that outweigh the embedding
        parameter.data.copy_(value.to(DTYPES[fixture.store]).float())


class Fp8Linear(torch.nn.Module):
    """W8A8 as the reference computes it: static scales per output row, dynamic scales per token, sums of exact
    products (here in f64, rounded to f32), then both scales, bf16, bias, bf16."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.data.float()
        self.weight_scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-10) / 448
        self.weight = (weight / self.weight_scale).to(torch.float8_e4m3fn)
        self.bias = linear.bias

    def forward(self, x):
        x = x.bfloat16().float()
        scale = x.abs().amax(-1, keepdim=True) / 448
        inverse = torch.where(scale == 0, torch.zeros_like(scale), 1 / scale)
        codes = (x * inverse).clamp(-448, 448).to(torch.float8_e4m3fn)
        total = (codes.double() @ self.weight.double().T).float()
        y = (total * scale * self.weight_scale[:, 0]).bfloat16().float()
        return y if self.bias is None else (y + self.bias).bfloat16().float()


def quantize(model):
    """Replaces every linear layer but the head."""
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, Fp8Linear(module))


def build(fixture, seed):
    model = Qwen2_5_VLForConditionalGeneration(transformers_config(fixture)).float().eval()
    random_weights(model, fixture, seed)
    model.tie_weights()
    embedding = model.get_input_embeddings().weight
    assert (model.lm_head.weight.data_ptr() == embedding.data_ptr()) == fixture.tied
    assert model.model.visual.config._attn_implementation == "eager"
    assert model.model.language_model.config._attn_implementation == "eager"
    if fixture.fp8:
        quantize(model)
    return model


def merged(grid):
    return grid[0], grid[1] // 2, grid[2] // 2


def positions(ids, pictures, special, tokens_per_second):
    """M-RoPE positions [3, tokens] and delta, time advancing by trunc(slice * seconds * tokens_per_second)."""
    result, following, at, pictures = [], 0, 0, list(pictures)
    while at < len(ids):
        if ids[at] not in (special["image"], special["video"]):
            result.append((following,) * 3)
            following, at = following + 1, at + 1
            continue
        picture = pictures.pop(0)
        t, h, w = merged(picture.grid)
        run = []
        for k in range(t):
            time = int(np.float32(k) * np.float32(picture.seconds) * np.float32(tokens_per_second))
            run += [(following + time, following + y, following + x) for y in range(h) for x in range(w)]
        result += run
        following, at = 1 + max(max(p) for p in run), at + len(run)
    return torch.tensor(result).T.contiguous(), following - len(ids)


def make_prompt(fixture, case, generator):
    special = token_ids(fixture)
    words = lambda n: torch.randint(0, fixture.vocab - 12, (n,), generator=generator).tolist()
    ids = []
    for picture in case.pictures:
        pad = special["video"] if picture.seconds else special["image"]
        run = [pad] * int(np.prod(merged(picture.grid)))
        ids += words(picture.before) + [special["start"]] + run + [special["end"]]
    return ids + words(case.after)


def inputs_of(case, patches):
    """The keyword arguments that carry pictures into transformers: images and videos travel separately."""
    result, at = {}, 0
    for kind, name in ((False, "image"), (True, "video")):
        chosen, at = [], 0
        for picture in case.pictures:
            rows = int(np.prod(picture.grid))
            if bool(picture.seconds) == kind:
                chosen.append((patches[at:at + rows], picture.grid))
            at += rows
        if chosen:
            result["pixel_values_videos" if kind else "pixel_values"] = torch.cat([c[0] for c in chosen])
            result[f"{name}_grid_thw"] = torch.tensor([c[1] for c in chosen])
    return result


def forward(model, ids, position_ids, pictures, mask=None):
    return model(input_ids=torch.tensor([ids]), position_ids=position_ids[:, None], attention_mask=mask,
                 use_cache=False, **pictures).logits[0]


def extended(position_ids, delta, count):
    """Positions of the prompt and of `count` tokens behind it."""
    length = position_ids.shape[1]
    more = torch.arange(length, length + count) + delta
    return torch.cat([position_ids, more.expand(3, -1)], 1)


def greedy(model, special, ids, position_ids, delta, pictures, least):
    """Greedy tokens with transformers' KV cache; fewer than GREEDY_TOKENS when a winner leads by less than
    `least` or is a pad (which transformers would take for a picture). Also the smallest lead."""
    cache, chosen, margin = DynamicCache(config=model.config.text_config), [], float("inf")
    where, tokens = position_ids, ids
    while len(chosen) < GREEDY_TOKENS:
        logits = model(input_ids=torch.tensor([tokens]), position_ids=where[:, None], past_key_values=cache,
                       use_cache=True, **pictures).logits[0, -1]
        top = logits.topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        token = int(top.indices[0])
        if margin < least or token in (special["image"], special["video"]):
            break
        chosen.append(token)
        where = torch.full((3, 1), len(ids) + len(chosen) - 1 + delta)
        tokens, pictures = [token], {}
    return chosen, margin


def draft(model, ids, position_ids, delta, pictures, block):
    """Logits of `block` behind the prompt: the prompt causal, the block bidirectional within itself."""
    length, total = len(ids), len(ids) + len(block)
    visible = torch.ones(total, total).tril().bool()
    visible[length:, length:] = True
    mask = torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None]
    where = extended(position_ids, delta, len(block))
    logits = forward(model, ids + block, where, pictures, mask)[length:]
    causal = forward(model, ids + block, where, pictures)
    # The mask was used: prompt rows and the last row's causal view stay, all others look ahead.
    assert torch.allclose(forward(model, ids + block, where, pictures, mask)[:length], causal[:length], atol=1e-4)
    assert ((logits - causal[length:]).abs().amax(-1)[:-1] > 1e-2).all()
    return logits


def relative_rms(found, expected):
    return float((found - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt())


def bf16_logits(fixture, model, ids, position_ids, pictures, rows):
    half = Qwen2_5_VLForConditionalGeneration(transformers_config(fixture)).eval()
    half.load_state_dict(model.state_dict())
    half = half.to(torch.bfloat16)
    half.tie_weights()
    pictures = {k: v.bfloat16() if k.startswith("pixel") else v for k, v in pictures.items()}
    return forward(half, ids, position_ids, pictures).float()[rows]


@torch.no_grad()
def run_case(fixture, case, model, seed):
    """The tensors of one case, or None when its greedy tokens are too close or repeat too much."""
    generator = torch.Generator().manual_seed(seed)
    special = token_ids(fixture)
    ids = make_prompt(fixture, case, generator)
    count = sum(int(np.prod(p.grid)) for p in case.pictures)
    patches = torch.randn(count, 6 * fixture.patch**2, generator=generator).to(torch.bfloat16).float()
    pictures = inputs_of(case, patches)
    position_ids, delta = positions(ids, case.pictures, special, fixture.tokens_per_second)
    check_positions(model, case, ids, position_ids, delta, pictures)

    tokens, margin = greedy(model, special, ids, position_ids, delta, pictures, fixture.margin)
    if len(tokens) < GREEDY_TOKENS or len(set(tokens[-24:])) < 12:
        return None
    logits = forward(model, ids, position_ids, pictures)
    rows = sorted(set(np.linspace(0, len(ids) - 1, min(len(ids), 8)).round().astype(int).tolist()))
    out = {
        "input_ids": torch.tensor(ids), "position_ids": position_ids, "rope_delta": torch.tensor([delta]),
        "logit_rows": torch.tensor(rows), "logits": logits[rows], "greedy": torch.tensor(tokens),
    }
    notes = {"seed": str(seed), "greedy_margin": f"{margin:.3g}", "distinct_greedy": str(len(set(tokens)))}
    if case.pictures:
        out |= picture_tensors(model, case, patches, pictures)
    if case.draft:
        block = tokens[:1] + [special["mask"]] * (DRAFT_TOKENS - 1)
        out |= {"draft_tokens": torch.tensor(block),
                "draft_logits": draft(model, ids, position_ids, delta, pictures, block)}
    if case.bf16:
        out["bf16_logits"] = bf16_logits(fixture, model, ids, position_ids, pictures, rows)
        notes["bf16_relative_rms"] = f"{relative_rms(out['bf16_logits'], out['logits']):.3g}"
    return out, notes


def check_positions(model, case, ids, position_ids, delta, pictures):
    """positions() is transformers' get_rope_index wherever seconds are whole."""
    if any(p.seconds != int(p.seconds) for p in case.pictures):
        return
    seconds = [p.seconds for p in case.pictures if p.seconds]
    found, found_delta = model.model.get_rope_index(
        torch.tensor([ids]), pictures.get("image_grid_thw"), pictures.get("video_grid_thw"),
        torch.tensor(seconds) if seconds else None)
    assert torch.equal(found[:, 0], position_ids) and int(found_delta.reshape(-1)[0]) == delta


def picture_tensors(model, case, patches, pictures):
    visual = model.model.visual
    grids = torch.tensor([p.grid for p in case.pictures])
    index, cumulative = visual.get_window_index(grids)
    # Images and videos together: each is its own attention segment, so this equals separate passes.
    features = visual(patches, grid_thw=grids)
    for kind in ("", "_videos"):
        if f"pixel_values{kind}" in pictures:
            grid = pictures["image_grid_thw" if not kind else "video_grid_thw"]
            alone = visual(pictures[f"pixel_values{kind}"], grid_thw=grid)
            at, rows = 0, []
            for p in case.pictures:
                count = int(np.prod(merged(p.grid)))
                if bool(p.seconds) == bool(kind):
                    rows.append(features[at:at + count])
                at += count
            assert torch.allclose(torch.cat(rows), alone, atol=1e-5)
    return {
        "patches": patches.to(torch.bfloat16), "grids": grids, "features": features,
        "second_per_grid": torch.tensor([p.seconds for p in case.pictures]),
        "window_index": torch.as_tensor(index),
        "cu_window_seqlens": torch.unique_consecutive(torch.tensor(cumulative)),
    }


def published(name, style):
    """transformers' own names are style A; style B is what Qwen2.5-VL is published in."""
    if style == "A":
        return name
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def save_weights(model, fixture, folder):
    stored = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and fixture.tied:
            continue
        stored[published(name, fixture.style)] = tensor.to(DTYPES[fixture.store]).contiguous()
    for name, module in model.named_modules():
        if isinstance(module, Fp8Linear):
            stored[published(f"{name}.weight", fixture.style)] = module.weight
            stored[published(f"{name}.weight_scale", fixture.style)] = module.weight_scale
    if fixture.shards == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, where = list(stored), {}
    for shard in range(fixture.shards):
        file = f"model-{shard + 1:05}-of-{fixture.shards:05}.safetensors"
        part = {n: stored[n] for n in names[shard::fixture.shards]}
        where |= dict.fromkeys(part, file)
        save_file(part, folder / file, metadata={"format": "pt"})
    total = sum(t.numel() * t.element_size() for t in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def make(fixture):
    model, results = build(fixture, fixture.seed), []
    for case in fixture.cases:
        found = (run_case(fixture, case, model, seed) for seed in range(1000, 1100))
        results.append(next((result for result in found if result), None))
        if not results[-1]:
            raise SystemExit(f"{fixture.name}/{case.name}: no prompt seed gives clear greedy tokens")
    folder = ROOT / ("model-fp8" if fixture.fp8 else "model") / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_json(fixture), indent=1) + "\n")
    save_weights(model, fixture, folder)
    for case, (tensors, notes) in zip(fixture.cases, results):
        tensors = {k: (v.to(torch.int32) if v.dtype == torch.int64 else v).contiguous() for k, v in tensors.items()}
        # One entry: several are written in an order that changes from run to run.
        save_file(tensors, folder / f"case-{case.name}.safetensors", metadata={"notes": json.dumps(notes)})
        print(f"{fixture.name}/{case.name}: {tensors['input_ids'].numel()} tokens, {notes}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Writes the model fixtures (all, or those named).")
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    for fixture in FIXTURES:
        if not names or fixture.name in names or ("fp8" in names and fixture.fp8):
            make(fixture)


if __name__ == "__main__":
    main()
