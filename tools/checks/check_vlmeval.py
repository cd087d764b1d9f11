#!/usr/bin/env python3
"""The other direction: VLMEvalKit asks `dvlm serve`, and its scores stand beside those of `dvlm eval`.

  tools/checks/check_vlmeval.py DVLM PACKAGE [--model FOLDER] [--questions N]

PACKAGE is where ms-vlmeval 0.0.20 was unpacked (tools/fixtures/make_eval_oracle.py says how, and what it needs). The five
small benchmarks are those of check_eval.py; prompts, answers and scores are the package's. VLMEvalKit sends pictures as it
encodes them, so a few answers may differ.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

import check_eval
from server_process import ServerProcess

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import make_eval_oracle as oracle  # noqa: E402
import pandas as pd  # noqa: E402


def asked_by_vlmeval(folder, task, client):
    """(row, what the model said) of each row, and the whole report of the package."""
    base = oracle.dataset_classes()[task]

    class Local(base):
        def load_data(self, dataset):
            return pd.read_csv(folder / f"{task}.tsv", sep="\t")

    data = Local(dataset=task)
    table = data.data.copy()
    table["prediction"] = [client.generate(data.build_prompt(i)) for i in range(len(data))]
    table.pop("image")
    file = str(folder / f"asked_{task}.tsv")
    table.to_csv(file, sep="\t", index=False)
    report = data.evaluate(file, model="exact_matching").to_dict("list")
    overall = report["Overall"][0]
    return dict(zip(map(str, table["index"]), table["prediction"])), overall if overall > 1 else 100 * overall


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("package", type=pathlib.Path)
    parser.add_argument("--model", default="models/dvlm-tiny")
    parser.add_argument("--questions", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        os.environ |= {"LMUData": temporary, "PRED_FORMAT": "tsv"}
        root = options.package.resolve() / "vlmeval"
        oracle.load(root)
        oracle.package("vlmeval.api", root / "api")  # its __init__ imports the clients of all companies
        oracle.importlib.import_module("vlmeval.dataset.image_vqa").mp.Pool = lambda _: oracle.types.SimpleNamespace(map=lambda f, x: [f(i) for i in x])
        from vlmeval.api.gpt import OpenAIWrapper

        check_eval.make_files(options.dvlm, folder, options.questions)
        command = [options.dvlm, "eval", "--task", "all", "--data", folder, "--model", options.model, "--decoders", "ar"]
        check_eval.run([*command, "--max-tokens", 256, "--output", folder / "ours"])
        report = json.loads(check_eval.run([options.dvlm, "eval", "--report", folder / "ours", "--json"]))
        ours = check_eval.answers_in(folder / "ours")
        print(f"{'task':16}{'questions':>10}{'same answers':>14}{'VLMEvalKit':>12}{'dvlm eval':>11}")
        with ServerProcess(options.dvlm, "--model", options.model) as server:
            url = "http://{}:{}/v1/chat/completions".format(*server.address)
            name = pathlib.Path(options.model).name
            client = OpenAIWrapper(model=name, api_base=url, key="none", max_tokens=256, temperature=0, retry=1, img_detail="high")
            for task in check_eval.KINDS:
                theirs, score = asked_by_vlmeval(folder, task, client)
                same = sum(ours[task]["ar"][key].strip() == text for key, text in theirs.items())
                own = 100 * next(r["parts"][0]["score"] for r in report if r["task"] == task)
                print(f"{task:16}{len(theirs):10}{same:14}{score:12.2f}{own:11.2f}", flush=True)


if __name__ == "__main__":
    main()
