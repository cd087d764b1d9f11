#!/usr/bin/env python3
"""`dvlm eval` asks llama.cpp's server, which holds the same checkpoint in GGUF, and compares with dvlm's own answers.

  tools/checks/check_llama_server.py DVLM LLAMA_SERVER [--model FOLDER] [--questions N]

The source of LLAMA_SERVER is in the sdist of llama-cpp-python 0.3.36 (PyPI), below vendor/llama.cpp:
  cmake -S . -B build -DLLAMA_CURL=OFF -DLLAMA_BUILD_UI=OFF && cmake --build build --target llama-server
Needs gguf (PyPI). Both sides compute in F32, one token at a time; the five small benchmarks are those of check_eval.py.
Fails when a question stays without an answer; where both differ is printed.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import check_eval
import gguf_of


@contextlib.contextmanager
def llama_server(program, folder, text, vision, port):
    command = [program, "-m", text, "--mmproj", vision, "--host", "127.0.0.1", "--port", port, "-c", 4096, "-np", 1, "-t", 1, "--jinja"]
    with open(folder / "llama.log", "w") as log, subprocess.Popen(list(map(str, command)), stdout=log, stderr=log) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            else:
                process.kill()
            if process.poll() is not None:
                raise SystemExit("llama-server does not start: " + (folder / "llama.log").read_text()[-2000:])
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("llama_server")
    parser.add_argument("--model", default="models/dvlm-tiny")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--port", type=int, default=18231)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        check_eval.make_files(options.dvlm, folder, options.questions)
        command = [options.dvlm, "eval", "--task", "all", "--data", folder, "--max-tokens", 128, "--logprobs", 10]
        check_eval.run([*command, "--model", options.model, "--decoders", "ar", "--precision", "f32", "--output", folder / "ours"])
        text, vision = gguf_of.write_gguf(options.model, folder)
        with llama_server(options.llama_server, folder, text, vision, options.port) as url:
            report = json.loads(check_eval.run([*command, "--model", "any", "--endpoint", url, "--output", folder / "theirs", "--json"]))
        print(check_eval.run([options.dvlm, "eval", "--report", folder / "ours", "--against", folder / "theirs"]))
        ours, theirs = check_eval.answers_in(folder / "ours"), check_eval.answers_in(folder / "theirs")
        whole = all(set(theirs[task]["endpoint"]) == set(by_decoder["ar"]) for task, by_decoder in ours.items())
        refused = [line for file in folder.glob("theirs/*/*.jsonl") for line in file.read_text().splitlines() if '"refused' in line]
        good = whole and not refused and len(report) == len(check_eval.KINDS)
        print("PASS" if good else f"FAIL: {len(refused)} refused: {refused[:1]}")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
