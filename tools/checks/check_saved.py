#!/usr/bin/env python3
"""What `dvlm train` saves, opened by those it is saved for: transformers and PEFT, without a word to them about dvlm.

    tools/checks/check_saved.py build/torch/apps/dvlm/dvlm

Makes short runs of its own on data of `dvlm synth`, in a temporary folder, by the configurations in examples:

  - models in Qwen2.5-VL's names, of stage ar and of a conversion: Qwen2_5_VLForConditionalGeneration.from_pretrained finds
    every weight, and writes what `dvlm eval --decoders ar --precision f32` writes
  - adapters of stage ar and of a conversion: PeftModel.from_pretrained over the first of these, against `--lora`
  - an adapter for drafts: spec, fused and auto write with --draft-lora what ar writes without

Answers must be equal token for token, and the log probabilities of their tokens nearly so. Needs torch, transformers 5.24.0,
peft, safetensors and pillow. Prints a line for each comparison; exit status 0 when all are good.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2]
MAX_TOKENS = 64
TOLERANCE = 1e-4  # of a log probability: both sides compute in f32, in other orders
LOSSLESS = "ar,spec,fused,auto"
# A few steps at rates that change answers: what is saved must differ from what the run began with. One thread: the model is
# so small that threads which share a busy machine would wait for one another a hundred times as long as they compute.
SHORT = ["steps=4", "batch_size=2", "accumulation=1", "global_batch_size=0", "log_interval=1", "warmup_ratio=0", "threads=1"]
ADAPTER = ["learning_rate=0.003", "schedule=constant"]


def run(*command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with status {result.returncode}: {result.stderr.strip()}")
    return result.stdout


class Trainer:
    def __init__(self, dvlm, folder):
        self.dvlm, self.folder = dvlm, folder
        run(dvlm, "synth", "--out", folder / "train", "--count", 40, "--seed", 3)

    def __call__(self, name, config, model, *settings):
        """The output folder of a short run."""
        output = self.folder / name
        pairs = [f"model={model}", f"data={self.folder / 'train' / 'data.jsonl'}", *SHORT, *settings]
        flags = [part for pair in pairs for part in ("--set", pair)]
        run(self.dvlm, "train", "--config", ROOT / "examples" / config, "--output", output, *flags)
        return output


class Theirs:
    """transformers' answers: of a model folder, or of an adapter over one."""

    def __init__(self, folder, adapter=None):
        self.model, found = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        self.complete = not any(found.values())
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder)
        self.image_token = self.model.config.image_token_id
        if adapter:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self.model = PeftModel.from_pretrained(self.model, adapter)
            self.complete = not [one for one in said if "missing adapter keys" in str(one.message)]
        self.model.eval()

    def inputs(self, messages, folder):
        parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
        pictures = [Image.open(folder / part["image"]).convert("RGB") for part in parts if part["type"] == "image"]
        seen = self.processor(pictures, return_tensors="pt")
        ids = []
        counts = iter((seen["image_grid_thw"].prod(-1) // self.processor.merge_size**2).tolist())
        for token in self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False):
            ids += [token] * (next(counts) if token == self.image_token else 1)
        ids = torch.tensor([ids])
        # Without these a picture's tokens silently get the positions of text.
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": (ids == self.image_token).long(),
                "pixel_values": seen["pixel_values"], "image_grid_thw": seen["image_grid_thw"]}

    @torch.no_grad()
    def answer(self, messages, folder):
        """(tokens of the prompt, [(token, log probability)])"""
        inputs = self.inputs(messages, folder)
        out = self.model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False, output_logits=True,
                                  return_dict_in_generate=True)
        count = inputs["input_ids"].shape[1]
        chosen = out.sequences[0, count:].tolist()
        scores = [float(logits[0].log_softmax(-1)[token]) for token, logits in zip(chosen, out.logits, strict=True)]
        return count, list(zip(map(self.tokenizer.decode, chosen), scores))


def evaluate(dvlm, test, *flags):
    command = [dvlm, "eval", "--data", test / "data.jsonl", "--max-tokens", MAX_TOKENS, "--threads", 1, "--json"]
    return json.loads(run(*command, *flags))


def answers_of_dvlm(dvlm, test, folder, *flags):
    """As Theirs.answer, for each question."""
    evaluate(dvlm, test, "--decoders", "ar", "--precision", "f32", "--logprobs", 1, "--output", folder, *flags)
    [file] = folder.glob("*/*.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    return [(line["prompt_tokens"], [(t["token"], t["logprob"]) for t in line["logprobs"]]) for line in lines]


def difference(theirs, ours):
    """How far apart the log probabilities are; None where the answers are not the same tokens behind as long a prompt."""
    if theirs[0] != ours[0] or [t for t, _ in theirs[1]] != [t for t, _ in ours[1]]:
        return None
    return max(abs(a - b) for (_, a), (_, b) in zip(theirs[1], ours[1]))


def compare(name, theirs, ours, test):
    """Prints how close both are; whether they are close enough."""
    questions = [json.loads(line)["messages"] for line in (test / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [difference(theirs.answer(messages, test), own) for messages, own in zip(questions, ours, strict=True)]
    equal = [one for one in found if one is not None]
    tokens = sum(len(own[1]) for own in ours)
    good = theirs.complete and len(equal) == len(found) and max(equal) <= TOLERANCE
    far = f"{max(equal):.1e}" if equal else "-"
    print(f"{'ok   ' if good else 'FAIL '} {name}: {'every weight found' if theirs.complete else 'weights are missing'}, "
          f"{len(equal)} of {len(found)} answers equal ({tokens} tokens), log probabilities within {far}", flush=True)
    return good


def changed(name, before, after):
    """Whether a run changed anything: else the comparison behind it would say nothing."""
    found = [difference(a, b) for a, b in zip(before, after, strict=True)]
    other = sum(one is None for one in found)
    good = other > 0 or max(found) > 100 * TOLERANCE
    print(f"{'ok   ' if good else 'FAIL '} {name}: {other} of {len(found)} answers are not those without it", flush=True)
    return good


def check_drafts(dvlm, model, adapter, test):
    """Whether decoders that verify write with the adapter what ar writes without, and draft otherwise than without."""
    command = [dvlm, test, "--model", model, "--decoders", LOSSLESS]
    plain, drafted = evaluate(*command), evaluate(*command, "--draft-lora", adapter)
    good = True
    for one in drafted:
        same = one["identical"] == one["compared"] == one["all"]["answers"] and one["digest"] == plain[0]["digest"]
        print(f"{'ok   ' if same else 'FAIL '} --draft-lora, {one['decoder']}: {one['identical']} of {one['all']['answers']} "
              f"answers are ar's, {'and' if one['digest'] == plain[0]['digest'] else 'NOT'} those without the adapter", flush=True)
        good = good and same
    [before, after] = [one["all"]["tokens_per_nfe"] for result in (plain, drafted) for one in result if one["decoder"] == "spec"]
    print(f"{'ok   ' if before != after else 'FAIL '} --draft-lora: spec writes {after:.2f} tokens a pass, {before:.2f} without",
          flush=True)
    return good and before != after


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "dvlm-tiny", help="what the runs begin with")
    parser.add_argument("--questions", type=int, default=20)
    options = parser.parse_args()
    dvlm = options.dvlm.resolve()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train, test = Trainer(dvlm, folder), folder / "test"
        run(dvlm, "synth", "--out", test, "--split", "test", "--seed", 1, "--count", options.questions)
        qwen = ["save_format=qwen2_5_vl", "ema_decay=0"]
        # In f32, that merging an adapter rounds nothing.
        base = train("base", "tiny/ar.json", options.model, *qwen, "save_dtype=f32")
        converted = train("converted", "tiny/convert.json", options.model, *qwen)
        plain = answers_of_dvlm(dvlm, test, folder / "answers-base", "--model", base)
        results = [compare("a model of stage ar", Theirs(base), plain, test)]
        ours = answers_of_dvlm(dvlm, test, folder / "answers-converted", "--model", converted)
        results.append(compare("a conversion", Theirs(converted), ours, test))
        for stage in ("ar", "convert"):
            adapter = train(f"lora-{stage}", "lora.json", base, f"stage={stage}", *ADAPTER)
            ours = answers_of_dvlm(dvlm, test, folder / f"answers-lora-{stage}", "--model", base, "--lora", adapter)
            results.append(compare(f"an adapter of stage {stage}", Theirs(base, adapter), ours, test))
            results.append(changed(f"an adapter of stage {stage}", plain, ours))
        drafts = train("drafts", "draft-lora.json", options.model, *ADAPTER)
        results.append(check_drafts(dvlm, options.model, drafts, test))
    print("PASS" if all(results) else "FAIL")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
