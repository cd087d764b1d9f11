#!/usr/bin/env python3
"""How fast answers are written at the 3B shape: dvlm beside llama.cpp and OpenVINO GenAI, random weights, in turn.

    bench/peers/answers.py DVLM LLAMA_SERVER [--rounds N] [--programs llama-q8_0,openvino-q4_0]

Needs gguf and, for OpenVINO, openvino-genai (PyPI); tools/checks/check_llama_server.py says how to get LLAMA_SERVER.
The peers read one GGUF file per type. They write one token at a time, or verify what their own search for repeated
words proposes (`-ngram`; the table says how many tokens a pass then wrote). Random weights draft nothing that is
right: dvlm's drafts are worth what bench/acceptance-tiny.json recorded. Times are of the tokens after the first.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import make_vl_gguf
from llama_server import LlamaServer
from programs import TURN_SECONDS, Failure, Worker

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ["llama-q8_0", "llama-q8_0-ngram", "llama-q4_0", "llama-q4_0-ngram", "openvino-q8_0", "openvino-q4_0"]


@dataclass
class Line:
    """One row of the table: tokens per second and tokens per pass, a number a round."""

    speed: list[float] = field(default_factory=list)
    per_pass: list[float] = field(default_factory=list)


def prompt(count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(300, 100_000) for _ in range(count)]


class Llama:
    def __init__(self, key: str, options: argparse.Namespace, port: int):
        kind, self.tokens, self.prompt = key.split("-")[1], options.tokens, options.prompt_tokens
        flags = ["--spec-type", "ngram-simple"] if key.endswith("-ngram") else []
        model = make_vl_gguf.ensure_qwen2(options.folder, kind)
        self.server = LlamaServer(key, options.llama_server, model, options.threads, port, flags)
        self.turn(10**6)

    def turn(self, seed: int) -> tuple[float, float]:
        body = {"prompt": prompt(self.prompt, seed), "n_predict": self.tokens + 1, "ignore_eos": True, "temperature": 0}
        timings = self.server.ask("/completion", body | {"cache_prompt": False})["timings"]
        if timings["predicted_n"] != self.tokens + 1:
            raise Failure(f"llama.cpp wrote {timings['predicted_n']} tokens, not {self.tokens + 1}")
        passes = self.tokens - timings.get("draft_n_accepted", 0)
        return 1e3 * self.tokens / timings["predicted_ms"], self.tokens / passes  # its clock starts with the first token

    def close(self) -> None:
        self.server.close()


class OpenVino:
    def __init__(self, key: str, options: argparse.Namespace):
        self.tokens, self.prompt = options.tokens, options.prompt_tokens
        model = make_vl_gguf.ensure_qwen2(options.folder, key.split("-")[1])
        self.worker = Worker(key, "openvino_worker.py", [str(model), "--threads", str(options.threads)], repeats=1)

    def turn(self, seed: int) -> tuple[float, float]:
        request = {"prompt": prompt(self.prompt, seed), "tokens": self.tokens, "repeats": 1}
        return 1e3 * self.tokens / self.worker.ask(request), 1.0

    def close(self) -> None:
        self.worker.close()


def dvlm_turn(options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    command = [options.dvlm, "bench", "decode", "--acceptance", REPOSITORY / "bench/acceptance-tiny.json"]
    command += ["--precision", options.precisions, "--decoders", "ar,auto", "--answers", options.answers, "-n", options.tokens]
    command += ["--prompt-tokens", options.prompt_tokens, "--threads", options.threads, "--json"]
    output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, timeout=TURN_SECONDS)
    lines = json.loads(output.stdout)["decode"]
    return {f"dvlm {x['precision']} {x['decoder']}": (x["tokens_per_s"], x["tokens_per_nfe"]) for x in lines}


def table(lines: dict[str, Line]) -> str:
    fastest = next((name for name in lines if name.endswith("int8 auto")), "")
    out = [f"| program | tokens/pass | tokens/s | {fastest} is so many times as fast |", "| --- | ---: | ---: | ---: |"]
    for name, line in lines.items():
        ratios = [ours / theirs for ours, theirs in zip(lines[fastest].speed, line.speed)] if fastest else []
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
        out.append(f"| {name} | {statistics.median(line.per_pass):.2f} | {statistics.median(line.speed):.2f} | {ratio} |")
    return "\n".join(out)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("llama_server")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="peers (default: %(default)s)")
    parser.add_argument("--precisions", default="bf16,int8,int4", help="dvlm's (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer (default: %(default)s)")
    parser.add_argument("--answers", type=int, default=4, help="of dvlm in a round (default: %(default)s)")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build/peers", help="for GGUF files (default: build/peers)")
    parser.add_argument("--port", type=int, default=18240, help="the first of some (default: %(default)s)")
    options = parser.parse_args()
    if unknown := set(filter(None, options.programs.split(","))) - set(PROGRAMS):
        parser.error(f"--programs: there is no {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of `finally`: a stopped child would outlive us
    peers: dict[str, Llama | OpenVino] = {}
    lines: dict[str, Line] = {}
    try:
        for number, key in enumerate(filter(None, options.programs.split(","))):
            print(f"== {key} starts", file=sys.stderr, flush=True)
            peers[key] = Llama(key, options, options.port + number) if key.startswith("llama") else OpenVino(key, options)
        for seed in range(options.rounds):
            print(f"== round {seed + 1} of {options.rounds}", file=sys.stderr, flush=True)
            results = {key: peer.turn(seed) for key, peer in peers.items()} | dvlm_turn(options)
            for name, (speed, per_pass) in results.items():
                line = lines.setdefault(name, Line())
                line.speed.append(speed)
                line.per_pass.append(per_pass)
    finally:
        for peer in peers.values():
            peer.close()
    print(f"{options.threads} threads, {options.rounds} rounds, medians; {options.tokens} tokens behind {options.prompt_tokens}")
    print("\n" + table(lines))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"answers.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
