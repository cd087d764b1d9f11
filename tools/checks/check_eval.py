#!/usr/bin/env python3
"""Benchmarks from end to end: five small ones drawn by `dvlm synth`, in VLMEvalKit's files, answered by a model.

  tools/checks/check_eval.py DVLM [--model FOLDER] [--questions N] [--kills N]

Checks that speculation writes what autoregression writes, that a run killed at random and begun again ends with the same
answers as one that was not, and that `dvlm serve` asked as an endpoint gives the same answers and scores. Prints the tables.
"""

import argparse
import base64
import csv
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from server_process import ServerProcess

DECODERS = "ar,mdm,spec"
# File: types of questions. The multiple choices are among the answers to other questions.
KINDS = {
    "AI2D_TEST": "where,colour,count",
    "TextVQA_VAL": "read,colour,count",
    "POPE": "exists,relation",
    "DocVQA_VAL": "documents",
    "ChartQA_TEST": "charts",
}


def rows_of(folder, name):
    rng = random.Random(1)
    lines = [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = {}
    for line in lines:
        answers.setdefault(line["type"], set()).add(line["answer"])
    for i, line in enumerate(lines):
        image, question = line["messages"][0]["content"]
        answer = line["answer"]
        row = {
            "index": i,
            "image": base64.b64encode((folder / image["image"]).read_bytes()).decode(),
            "question": question["text"],
            "answer": answer,
        }
        if name == "AI2D_TEST":
            others = sorted(answers[line["type"]] - {answer})
            options = [answer, *rng.sample(others, min(3, len(others)))]
            rng.shuffle(options)
            row |= dict(zip("ABCD", options)) | {"answer": "ABCD"[options.index(answer)]}
        elif name == "TextVQA_VAL":
            row["answer"] = repr([answer] * 10)
        elif name == "DocVQA_VAL":
            row["answer"] = repr([answer])
        elif name == "ChartQA_TEST":
            row["split"] = "test_human" if i % 2 else "test_augmented"
        elif answer in ("yes", "no"):
            row |= {"answer": answer.title(), "category": "random"}
        else:
            continue  # relations that ask for a name
        yield row


def make_files(dvlm, folder, questions):
    for seed, (name, types) in enumerate(KINDS.items()):
        drawn = folder / f"drawn-{name}"
        run([dvlm, "synth", "--out", drawn, "--split", "test", "--seed", 100 + seed, "--count", questions, "--types", types])
        rows = list(rows_of(drawn, name))
        with open(folder / f"{name}.tsv", "w", encoding="utf-8", newline="") as file:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def run(command, **more):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **more).stdout


def answers_in(folder):
    """{task: {decoder: {id: answer}}} of a folder of answers."""
    out = {}
    for file in sorted(folder.glob("*/*.jsonl")):
        head, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        out.setdefault(head["task"], {})[head["decoder"]] = {line["id"]: line["answer"] for line in lines}
    return out


def kill_at_random(command, kills):
    rng, done = random.Random(2), 0
    while done < kills:
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.3, 2.5))
            break  # it was done
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
    run(command)
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("--model", default="models/dvlm-tiny")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    failures = []

    def check(name, good):
        print(("ok    " if good else "FAIL  ") + name, flush=True)
        if not good:
            failures.append(name)

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        make_files(options.dvlm, folder, options.questions)
        command = [options.dvlm, "eval", "--task", "all", "--data", folder, "--model", options.model, "--max-tokens", 256]
        decoders = ["--decoders", DECODERS]
        print(run([*command, *decoders, "--output", folder / "whole"]), flush=True)
        whole = answers_in(folder / "whole")
        check("five tasks, three decoders", sorted(whole) == sorted(KINDS) and all(len(d) == 3 for d in whole.values()))
        for task, by_decoder in whole.items():
            check(f"{task}: {len(by_decoder['ar'])} answers of spec are those of ar", by_decoder["spec"] == by_decoder["ar"])
        kills = kill_at_random([*command, *decoders, "--output", folder / "parts"], options.kills)
        check(f"killed {kills} times, the same answers in the same order", answers_in(folder / "parts") == whole and kills == options.kills)
        with ServerProcess(options.dvlm, "--model", options.model) as server:
            asked = [*command[:6], "--model", pathlib.Path(options.model).name, "--max-tokens", 256, "--endpoint", "http://{}:{}/v1".format(*server.address)]
            run([*asked, "--parallel", 4, "--output", folder / "asked"])
        for task, by_decoder in answers_in(folder / "asked").items():
            check(f"{task}: answers of the endpoint are those of ar", by_decoder["endpoint"] == whole[task]["ar"])
        scores = {
            name: {r["task"]: r["parts"] for r in json.loads(run([options.dvlm, "eval", "--report", folder / name, "--json"])) if r["decoder"] == decoder}
            for name, decoder in (("whole", "ar"), ("asked", "endpoint"))
        }
        check("scores of the endpoint are those of ar", scores["whole"] == scores["asked"] and len(scores["asked"]) == 5)
    print("FAIL" if failures else "PASS")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
