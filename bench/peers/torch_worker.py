#!/usr/bin/env python3
"""Eager PyTorch passes of the transformers classes in bf16 with random weights, on request of compare.py.

  vision  the tower over one picture: {"repeats": 3}
  text    the decoder and the tied head: {"rows": 32, "logits": "all", "repeats": 3}
"""

import argparse

import worker  # before torch: it saves standard output

import torch
import transformers
from transformers import DynamicCache
from transformers.models.qwen2_5_vl import configuration_qwen2_5_vl as configurations
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

from shapes import TOKEN, TextShape, VisionShape

SPREAD = 1 / 64


def random_module(make):
    """What `make` makes, in bf16 with random weights, without transformers' slow initialisation."""
    torch.set_default_dtype(torch.bfloat16)
    with transformers.modeling_utils.no_init_weights():
        module = make().eval()
    torch.set_default_dtype(torch.float32)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.ones_(parameter)
        else:
            torch.nn.init.uniform_(parameter, -SPREAD, SPREAD, generator=generator)
    return module


class Vision:
    def __init__(self, shape: VisionShape, size: str):
        config = configurations.Qwen2_5_VLVisionConfig(
            depth=shape.depth,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_heads=shape.heads,
            out_hidden_size=shape.out_hidden,
            patch_size=shape.patch,
            temporal_patch_size=shape.temporal_patch,
            window_size=shape.window,
            fullatt_block_indexes=list(shape.full_attention_blocks),
        )
        config._attn_implementation = "sdpa"
        self.module = random_module(lambda: modeling.Qwen2_5_VisionTransformerPretrainedModel(config))
        rows, columns = shape.grid(size)
        self.grid = torch.tensor([[1, rows, columns]])
        self.patches = torch.randn(rows * columns, shape.patch_elements, dtype=torch.bfloat16)

    def timed(self, request: dict) -> float:
        return worker.milliseconds(lambda: self.module(self.patches, grid_thw=self.grid))


class Text:
    def __init__(self, shape: TextShape):
        config = configurations.Qwen2_5_VLTextConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.max_positions,
            rms_norm_eps=shape.rms_eps,
            rope_theta=shape.rope_theta,
            rope_scaling={"type": "mrope", "mrope_section": list(shape.mrope_section)},
        )
        config._attn_implementation = "sdpa"
        self.config = config
        self.module = random_module(lambda: modeling.Qwen2_5_VLTextModel(config))

    def timed(self, request: dict) -> float:
        tokens = torch.full((1, request["rows"]), TOKEN)
        return worker.milliseconds(lambda: self._logits(tokens, request["logits"] == "all"))

    def _logits(self, tokens: torch.Tensor, every: bool) -> torch.Tensor:
        cache = DynamicCache(config=self.config)
        hidden = self.module(input_ids=tokens, past_key_values=cache, use_cache=True).last_hidden_state
        return torch.nn.functional.linear(
            hidden if every else hidden[:, -1:], self.module.embed_tokens.weight
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["vision", "text"])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layers", type=int, help="cut the text's depth")
    parser.add_argument("--size", default="644x476", help="picture, WIDTHxHEIGHT (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.part == "vision":
        part = Vision(VisionShape(), args.size)
    else:
        part = Text(TextShape(layers=args.layers or TextShape.layers))
    about = {
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "torch's CPU capability": torch.backends.cpu.get_cpu_capability(),
        },
        "weights_bytes": sum(p.numel() * p.element_size() for p in part.module.parameters()),
    }
    with torch.inference_mode():
        worker.serve(about, part.timed)


if __name__ == "__main__":
    main()
