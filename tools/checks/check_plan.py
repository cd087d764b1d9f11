#!/usr/bin/env python3
"""Compares what `dvlm train --plan` says of memory with what training takes, on the CPU, in a 0.3B shape.

    tools/checks/check_plan.py build/torch/apps/dvlm/dvlm

Needs some 9 GB of memory and a few minutes. Prints estimate, peak and ratio of each way to train; fails beyond 10 %.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny" / "model"
TEXT = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 18, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32768}
VISION = {"hidden_size": 640, "intermediate_size": 1720, "depth": 16, "num_heads": 8, "out_hidden_size": 1024,
          "fullatt_block_indexes": [3, 7, 11, 15]}
WAYS = [[], ["recompute=true"], ["weight_dtype=bf16"], ['lora={"rank": 16}']]
MOST = 0.10


def make_model(folder):
    shutil.copytree(TINY, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= TEXT
    config["vision_config"] |= VISION
    (folder / "config.json").write_text(json.dumps(config))


def make_data(dvlm, folder):
    """The longest of some conversations, so that every pass is the largest."""
    subprocess.run([dvlm, "synth", "--out", folder, "--count", "40", "--seed", "3"], check=True, capture_output=True)
    longest = max((folder / "data.jsonl").read_text().splitlines(), key=len)
    (folder / "longest.jsonl").write_text(4 * (longest + "\n"))
    return folder / "longest.jsonl"


def peak_of(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{errors}")
    return usage.ru_maxrss * 1024 / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm", type=Path)
    dvlm, failed = parser.parse_args().dvlm.resolve(), False
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_model(work / "model")
        data = make_data(dvlm, work / "data")
        (work / "config.json").write_text(json.dumps({
            "stage": "convert", "model": str(work / "model"), "data": str(data), "output": "", "batch_size": 2,
            "steps": 2, "max_length": 1024, "block_size": 32}))
        for number, way in enumerate(WAYS):
            command = [dvlm, "train", "--config", work / "config.json", "--output", work / f"out{number}"]
            for setting in way:
                command += ["--set", setting]
            plan = subprocess.run([*command, "--plan"], check=True, capture_output=True, text=True).stdout
            estimate = float(re.search(r"^  all +([0-9.]+) GB$", plan, re.M)[1])
            peak = peak_of(command)
            shutil.rmtree(work / f"out{number}")
            failed |= abs(estimate / peak - 1) > MOST
            print(f"{' '.join(way) or 'all in float':<24} planned {estimate:5.2f} GB, peak {peak:5.2f} GB: "
                  f"{100 * (estimate / peak - 1):+.1f} %", flush=True)
    sys.exit("FAIL" if failed else print("PASS"))


if __name__ == "__main__":
    main()
