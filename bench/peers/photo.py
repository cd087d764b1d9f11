#!/usr/bin/env python3
"""From a photo to 100 tokens at the 3B shape: dvlm beside llama.cpp's server, both with random weights and in turn.

    bench/peers/photo.py DVLM LLAMA_SERVER [--type q8_0|q4_0] [--rounds N]

Needs gguf (PyPI); tools/checks/check_llama_server.py says how to get LLAMA_SERVER. A round is one request to the
server, with a picture that it has not seen, and `bench image` of dvlm. Random weights draft nothing that is right:
what 100 tokens take is measured by `bench decode`, whose drafts are worth what bench/acceptance-tiny.json says.
"""

import argparse
import base64
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import make_vl_gguf
from llama_server import LlamaServer
from programs import Failure

REPOSITORY = Path(__file__).resolve().parents[2]
TOKENS = 100


def png(width: int, height: int, seed: int) -> bytes:
    """A picture of one row of noise, repeated."""
    row = b"\0" + random.Random(seed).randbytes(3 * width)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * height, 1)) + chunk(b"IEND", b"")


def ask(server: LlamaServer, picture: bytes, question: str) -> dict:
    """Milliseconds until the answer's first token was due, and of the whole request."""
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
    start = time.perf_counter()
    answer = server.ask("/v1/chat/completions", body)
    total = (time.perf_counter() - start) * 1e3
    if answer["usage"]["completion_tokens"] != TOKENS:
        raise Failure(f"llama.cpp wrote {answer['usage']['completion_tokens']} tokens, not {TOKENS}")
    return {"first": total - answer["timings"]["predicted_ms"], "total": total, "prompt": answer["usage"]["prompt_tokens"]}


def dvlm_json(dvlm: str, *arguments) -> dict:
    output = subprocess.run([dvlm, "bench", *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("llama_server")
    parser.add_argument("--type", choices=make_vl_gguf.TYPES, default="q8_0")
    parser.add_argument("--precision", default="int8", help="dvlm's (default: %(default)s)")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build/peers")
    parser.add_argument("--port", type=int, default=18232)
    options = parser.parse_args()
    text, vision = make_vl_gguf.ensure(options.folder, options.type)
    width, height = map(int, options.size.split("x"))
    common = ["--precision", options.precision, "--threads", options.threads]
    first, theirs = [], []
    flags = ["--mmproj", str(vision), "--jinja"]
    server = LlamaServer("llama.cpp", options.llama_server, text, options.threads, options.port, flags)
    for number in range(options.rounds):
        theirs.append(ask(server, png(width, height, number), "What is this? " * 3))
        image = dvlm_json(options.dvlm, "image", "--size", options.size, "--repeats", 1, *common)
        first.append(image["image"][0]["first_token_ms"])
    server.close()
    recorded = ["--acceptance", REPOSITORY / "bench/acceptance-tiny.json", "--decoders", "auto", "--prompt-tokens", 1230]
    decoded = dvlm_json(options.dvlm, "decode", *recorded, "--answers", 6, "-n", TOKENS, *common)
    ours = statistics.median(first) + TOKENS / decoded["decode"][0]["tokens_per_s"] * 1e3
    total, wait = (statistics.median(answer[key] for answer in theirs) for key in ("total", "first"))
    print(f"| {options.size}, {options.threads} threads | first token | {TOKENS} tokens |\n| --- | ---: | ---: |")
    print(f"| llama.cpp {options.type}, {theirs[0]['prompt']} tokens of prompt | {wait / 1e3:.1f} s | {total / 1e3:.1f} s |")
    print(f"| dvlm {options.precision} | {statistics.median(first) / 1e3:.1f} s | {ours / 1e3:.1f} s |")
    print(f"| ratio | {statistics.median(first) / wait:.2f} | {ours / total:.2f} |")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped server would outlive us
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"photo.py: {failure}")
