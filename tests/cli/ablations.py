#!/usr/bin/env python3
"""The ablations without their training: the tables of hand-made runs, what tools/ablate.sh asks for, pictures in words.

  tests/cli/ablations.py REPOSITORY [DVLM]

With the program DVLM also that the tables read what `dvlm eval --json` writes today. Standard library only.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

FULL = [0.70, 0.72, 0.71]
RUNS = {  # variant: the score of all answers by mdm, of each seed
    "full": FULL,
    "no-annealing": [score - lost for score, lost in zip(FULL, (0.04, 0.05, 0.06))],
    "no-causal-context": [score - lost for score, lost in zip(FULL, (0.01, 0.0, -0.01))],
    "no-complement": [0.69],
    "two-stage": [score + won for score, won in zip(FULL, (0.04, 0.05, 0.06))],
}
TABLES = """\
| variant | seeds | steps | mdm: short | mdm: all | spec: short | spec: all | mdm: tokens per pass | spec: tokens per pass |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| full | 3 | 100 | 81.0 ± 2.5 | 71.0 ± 2.5 | 82.0 ± 2.5 | 72.0 ± 2.5 | 2.00 ± 0.00 | 3.00 ± 0.00 |
| no-annealing | 3 | 100 | 76.0 ± 2.5 | 66.0 ± 2.5 | 77.0 ± 2.5 | 67.0 ± 2.5 | 2.00 ± 0.00 | 3.00 ± 0.00 |
| no-causal-context | 3 | 100 | 81.0 ± 4.3 | 71.0 ± 4.3 | - | - | 2.00 ± 0.00 | - |
| no-complement | 1 | 100 | 79.0 | 69.0 | 80.0 | 70.0 | 2.00 | 3.00 |
| two-stage | 3 | 150 | 86.0 ± 4.3 | 76.0 ± 4.3 | 87.0 ± 4.3 | 77.0 ± 4.3 | 2.00 ± 0.00 | 3.00 ± 0.00 |

| against full, mdm, all answers | points | in the paper | direction |
| --- | ---: | ---: | ---: |
| no-annealing | -5.0 ± 2.5 | -2.5 | agrees |
| no-causal-context | +0.0 ± 2.5 | -12.9 | interval includes zero |
| no-complement | -1.0 | - | - |
| two-stage | +5.0 ± 2.5 | -13.1 | does not agree |
"""
RECORD = {
    "id": "a",
    "messages": [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What says the sign?"}]},
        {"role": "assistant", "content": "STOP"},
    ],
    "regions": [{"bbox_2d": [1, 2, 3, 4], "label": " sign"}],
    "scene": {"width": 224, "height": 196, "background": "a blue table",
              "objects": [{"name": "sign", "place": "top left", "bbox_2d": [1, 2, 3, 4], "text": "STOP"}]},
}
PAPER = {"kind": "bar chart", "title": "In the box", "entries": [{"name": "key", "value": 2}, {"name": "Total", "text": "1.50"}]}
# What ablate.sh calls: it keeps its arguments, and writes what a run leaves.
STUB = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
[ "$1" = train ] || { cat "$REPORT"; exit; }
while [ "$1" != --output ]; do shift; done
mkdir -p "$2"
echo '{"step": 7}' >"$2/train.jsonl"
"""


def report(score, decoders):
    """The part of `dvlm eval --json` that is read."""
    parts = [("**all**", 200, score), ("where", 10, 1.0), ("**all short types**", 120, score + 0.1)]
    return [{"task": "data", "decoder": decoder,
             "parts": [{"name": name, "answers": answers, "score": score + 0.01 * i} for name, answers, score in parts],
             "long": {"answers": 12, "tokens_per_nfe": 2.0 + i}} for i, decoder in enumerate(decoders)]


def write_runs(root):
    for variant, all_scores in RUNS.items():
        for seed, score in enumerate(all_scores, 1):
            folder = root / variant / f"seed-{seed}"
            folder.mkdir(parents=True)
            decoders = ["mdm"] if variant == "no-causal-context" else ["mdm", "spec"]
            (folder / "eval.json").write_text(json.dumps(report(score, decoders)))
            (folder / "train.jsonl").write_text('{"step": 20}\n{"step": 100}\n')
            if variant == "two-stage":
                (folder / "text").mkdir()
                (folder / "text" / "train.jsonl").write_text('{"step": 50}\n')


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **more).stdout


def tables_of_runs(repository, folder):
    write_runs(folder)
    printed = run(sys.executable, repository / "tools/ablation_table.py", folder)
    return printed == TABLES == (folder / "ablations.md").read_text() and "</svg>" in (folder / "ablations.svg").read_text()


def pictures_in_words(repository, folder):
    sheet = {key: value for key, value in RECORD.items() if key != "scene"} | {"paper": PAPER}
    (folder / "data.jsonl").write_text(json.dumps(RECORD) + "\n" + json.dumps(sheet) + "\n")
    data = json.dumps([{"path": str(folder / "data.jsonl"), "weight": 2}])
    value = run(sys.executable, repository / "tools/text_only.py", repository / "examples/tiny/convert.json", folder / "text",
                "--data", data)
    lines = [json.loads(line) for line in (folder / "text/0.jsonl").read_text().splitlines()]
    words = [line["messages"][0]["content"] for line in lines]
    return (
        json.loads(value) == [{"path": str(folder / "text/0.jsonl"), "weight": 2}]
        and all(list(line) == ["id", "messages"] and line["messages"][1] == RECORD["messages"][1] for line in lines)
        and words[0][0]["text"] == "a blue table, 224 x 196\nsign STOP, top left, [1, 2, 3, 4]\n"
        and words[1][0]["text"] == "bar chart\nIn the box\nkey: 2\nTotal: 1.50\n"
        and words[0][1]["text"] == "What says the sign?"
    )


def trainings(calls):
    """{output: {key: value}} of the trainings that were asked for; of a key that is given twice the last value counts."""
    out = {}
    for line in calls.splitlines():
        if line.startswith("train"):
            pairs = line.replace(" --output ", " --set output=").split(" --set ")[1:]
            settings = dict(pair.split("=", 1) for pair in pairs)
            out[settings["output"]] = settings
    return out


def stages_share_a_budget(repository, folder):
    (folder / "dvlm").write_text(STUB)
    (folder / "dvlm").chmod(0o755)
    (folder / "report.json").write_text(json.dumps(report(0.5, ["mdm", "spec"])))
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").touch()
    (folder / "data.jsonl").write_text(json.dumps(RECORD) + "\n")
    places = {"DVLM": folder / "dvlm", "CALLS": folder / "calls", "REPORT": folder / "report.json"}
    environment = os.environ | {name: str(path) for name, path in places.items()}
    command = [repository / "tools/ablate.sh", "--model", folder / "model", "--out", folder / "out", "--test", folder / "data.jsonl",
               "--minutes", "3", "--seeds", "1", "--variants", "full,two-stage", "--set", f"data={folder / 'data.jsonl'}",
               "--set", "steps=20"]
    run(*command, env=environment)
    calls = (folder / "calls").read_text()
    again = run(*command, env=environment)  # everything is done
    trained = trainings(calls)
    names = ("full/seed-1", "two-stage/seed-1/text", "two-stage/seed-1")
    full, text, second = (trained[str(folder / "out" / name)] for name in names)
    return (
        (folder / "calls").read_text() == calls
        and "| two-stage | 1 | 14 |" in again
        and (full["max_minutes"], full["steps"], full["model"]) == ("3", "20", str(folder / "model"))
        and all((one["max_minutes"], one["steps"]) == ("1.5", "10") for one in (text, second))
        and (text["freeze"], text["model"]) == ('["visual.*"]', full["model"])
        and json.loads(text["data"]) == [{"path": str(folder / "out/text/0.jsonl")}]
        and "freeze" not in second and second["data"] == full["data"] and second["model"] == text["output"]
    )


def reads_the_program(repository, folder, dvlm):
    run(dvlm, "synth", "--out", folder / "test", "--split", "test", "--seed", 1, "--count", 12)
    written = run(dvlm, "eval", "--model", repository / "models/dvlm-tiny", "--data", folder / "test/data.jsonl", "--decoders",
                  "mdm,spec", "--max-tokens", 64, "--threads", 1, "--json")
    for name in ("full", "two-stage"):
        (folder / name / "seed-1").mkdir(parents=True)
        (folder / name / "seed-1/eval.json").write_text(written)
    lines = run(sys.executable, repository / "tools/ablation_table.py", folder).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    return len(cells) == 9 and "-" not in cells and "| two-stage | +0.0 | -13.1 | one seed |" in lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=pathlib.Path)
    parser.add_argument("dvlm", nargs="?", type=pathlib.Path)
    options = parser.parse_args()
    checks = {check.__name__: check for check in (tables_of_runs, pictures_in_words, stages_share_a_budget)}
    if options.dvlm:
        checks["reads_the_program"] = lambda repository, folder: reads_the_program(repository, folder, options.dvlm.resolve())
    failed = 0
    for name, check in checks.items():
        with tempfile.TemporaryDirectory() as folder:
            good = check(options.repository.resolve(), pathlib.Path(folder))
        print(("ok    " if good else "FAIL  ") + name, flush=True)
        failed += not good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
