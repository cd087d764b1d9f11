#!/usr/bin/env python3
"""OpenVINO GenAI on a GGUF file, on request of answers.py: {"prompt": [tokens], "tokens": n, "repeats": 1} is
answered with the milliseconds that n tokens took after the first one."""

import argparse

import worker  # before openvino: it saves standard output

import numpy as np
import openvino
import openvino_genai


class Answers:
    def __init__(self, path: str, threads: int):
        self.pipeline = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)

    def about(self) -> dict:
        return {"versions": {"OpenVINO GenAI": openvino_genai.__version__}}

    def timed(self, request: dict) -> float:
        tokens = openvino.Tensor(np.array([request["prompt"]], np.int64))
        mask = openvino.Tensor(np.ones((1, len(request["prompt"])), np.int64))
        settings = openvino_genai.GenerationConfig(max_new_tokens=request["tokens"] + 1, ignore_eos=True, do_sample=False)
        result = self.pipeline.generate(openvino_genai.TokenizedInputs(tokens, mask), settings)
        metrics = result.perf_metrics
        if metrics.get_num_generated_tokens() != request["tokens"] + 1:
            raise SystemExit(f"OpenVINO wrote {metrics.get_num_generated_tokens()} tokens")
        return metrics.get_tpot().mean * request["tokens"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    answers = Answers(args.gguf, args.threads)
    worker.serve(answers.about(), answers.timed)


if __name__ == "__main__":
    main()
