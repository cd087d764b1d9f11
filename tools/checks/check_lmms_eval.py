#!/usr/bin/env python3
"""lmms-eval asks `dvlm serve`, and its answers and scores stand beside those of `dvlm eval` on the same questions.

  tools/checks/check_lmms_eval.py DVLM PYTHON [--model FOLDER] [--questions N]

PYTHON is an interpreter that has lmms-eval 0.7.3. Of its many dependencies these are enough: torch, accelerate, transformers,
datasets, evaluate, openai, loguru, python-dotenv, tenacity, pytz, jinja2, pytablewriter, sacrebleu and filelock 3.20.0 (with
the newest one the package stopped at filelock._api); pip install --no-deps lmms-eval, then those. Nothing is downloaded
while it runs. The questions are the plain ones that `dvlm synth` draws for check_eval.py, without its prompts. Exit status 0
when all answers and scores are the same.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

import check_eval
from server_process import ServerProcess

TASK = """task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_visual: image
doc_to_text: question
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 256, temperature: 0}}
metric_list:
"""
METRICS = {
    "exact": '- {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true, regexes_to_ignore: ["[.]$"]}\n',
    "anls": "- {metric: anls, aggregation: mean, higher_is_better: true}\n",
    "relaxed": "- {metric: relaxed, aggregation: mean, higher_is_better: true}\nprocess_results: !function charts.relaxed\n",
}
CHARTS = """from lmms_eval.tasks.chartqa.utils import relaxed_correctness


def relaxed(doc, results):
    return {"relaxed": float(relaxed_correctness(results[0], doc["answer"]))}
"""


def write_task(drawn, task, folder):
    """The task in lmms-eval's YAML, its questions as JSON lines, and those questions for `dvlm eval`; their ids."""
    kept = [json.loads(line) for line in (drawn / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [line for line in kept if line["metric"] != "sentences"]  # lmms-eval has no such metric
    rows = []
    for line in kept:
        image, text = line["messages"][0]["content"]
        rows.append({"image": str(drawn / image["image"]), "question": text["text"], "answer": line["answer"]})
    for path, lines in ((drawn / f"{task}.jsonl", kept), (folder / f"{task}.jsonl", rows)):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    [metric] = {line["metric"] for line in kept}
    yaml = TASK.format(task=task, file=folder / f"{task}.jsonl") + METRICS[metric]
    (folder / f"{task}.yaml").write_text(yaml, encoding="utf-8")
    (folder / "charts.py").write_text(CHARTS, encoding="utf-8")
    return [line["id"] for line in kept]


def asked_by_lmms_eval(python, model, address, folder, tasks):
    """{task: (answers, score)}"""
    settings = {"model": model, "base_url": "http://{}:{}/v1".format(*address), "api_key": "none"}
    command = [python, "-m", "lmms_eval", "--model", "openai", "--include_path", folder, "--tasks", ",".join(tasks)]
    command += ["--model_args", ",".join(f"{key}={value}" for key, value in settings.items()), "--batch_size", 1]
    offline = {name: "1" for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")}
    environment = os.environ | offline | {"HF_HOME": str(folder / "cache")}
    said = check_eval.run([*command, "--log_samples", "--output_path", folder / "out"], env=environment, cwd=folder)
    reports = list((folder / "out").rglob("*_results.json"))
    if not reports:  # the package's exit status is 0 after errors, too
        sys.exit(said)
    scores = json.loads(reports[0].read_text(encoding="utf-8"))["results"]
    out = {}
    for task in tasks:
        [file] = (folder / "out").rglob(f"*_samples_{task}.jsonl")
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        answers = [line["filtered_resps"] for line in sorted(lines, key=lambda line: line["doc_id"])]
        [score] = [v for k, v in scores[task].items() if k.split(",")[0] in ("exact_match", "anls", "relaxed")]
        out[task] = answers, 100 * score
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("python")
    parser.add_argument("--model", default="models/dvlm-tiny")
    parser.add_argument("--questions", type=int, default=20)
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        check_eval.make_files(options.dvlm, folder, options.questions)
        (folder / "tasks").mkdir()
        tasks = {f"dvlm_{name.lower()}": folder / f"drawn-{name}" for name in check_eval.KINDS}
        ids = {task: write_task(drawn, task, folder / "tasks") for task, drawn in tasks.items()}
        with ServerProcess(options.dvlm, "--model", options.model) as server:
            name = pathlib.Path(options.model).name
            theirs = asked_by_lmms_eval(options.python, name, server.address, folder / "tasks", list(tasks))
        print(f"{'task':18}{'questions':>10}{'same answers':>14}{'lmms-eval':>11}{'dvlm eval':>11}")
        for task, drawn in tasks.items():
            command = [options.dvlm, "eval", "--data", drawn / f"{task}.jsonl", "--model", options.model, "--decoders", "ar"]
            [report] = json.loads(check_eval.run([*command, "--max-tokens", 256, "--output", drawn / "ours", "--json"]))
            [by_decoder] = check_eval.answers_in(drawn / "ours").values()
            answers, score = theirs[task]
            same = sum(by_decoder["ar"][key].strip() == text.strip() for key, text in zip(ids[task], answers, strict=True))
            own = 100 * report["parts"][0]["score"]
            print(f"{task:18}{len(answers):10}{same:14}{score:11.2f}{own:11.2f}", flush=True)
            good = good and same == len(answers) and abs(score - own) < 0.005
    print("PASS" if good else "FAIL")
    sys.exit(not good)


if __name__ == "__main__":
    main()
