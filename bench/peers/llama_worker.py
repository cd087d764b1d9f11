#!/usr/bin/env python3
"""Passes of llama.cpp over a GGUF file, on request of compare.py:
{"rows": 32, "logits": "all", "repeats": 3}."""

import argparse
import ctypes
import re

import worker  # before llama_cpp: it saves standard output

import llama_cpp as llama

from shapes import TOKEN


def set_fields(params: ctypes.Structure, **values) -> ctypes.Structure:
    """Sets fields that must exist: ctypes takes any name, and llama.cpp renames fields now and then."""
    for name, value in values.items():
        if not hasattr(params, name):
            raise SystemExit(f"{type(params).__name__} has no field {name} in this llama-cpp-python")
        setattr(params, name, value)
    return params


class Passes:
    def __init__(self, path: str, threads: int, widest: int, ubatch: int, mmap: bool):
        llama.llama_backend_init()
        load_mode = llama.LLAMA_LOAD_MODE_MMAP if mmap else llama.LLAMA_LOAD_MODE_NONE
        model_params = set_fields(
            llama.llama_model_default_params(), n_gpu_layers=0, load_mode=load_mode
        )
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = set_fields(
            llama.llama_context_default_params(),
            n_ctx=widest,
            n_batch=widest,
            n_ubatch=min(ubatch, widest),
            n_threads=threads,
            n_threads_batch=threads,
        )
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.batch = llama.llama_batch_init(widest, 0, 1)

    def about(self) -> dict:
        ggml_version = ctypes.CDLL(llama.llama_cpp._lib._name).ggml_version
        ggml_version.restype = ctypes.c_char_p
        features = re.findall(r"(\w+) = 1", llama.llama_print_system_info().decode())
        return {
            "versions": {
                "llama-cpp-python": llama.__version__,
                "ggml": ggml_version().decode(),
                "llama.cpp's CPU features": " ".join(features),
            },
            "weights_bytes": llama.llama_model_size(self.model),
        }

    def timed(self, request: dict) -> float:
        """One pass over `rows` tokens without anything before them."""
        batch, rows = self.batch, request["rows"]
        llama.llama_memory_clear(llama.llama_get_memory(self.context), False)
        batch.n_tokens = rows
        for i in range(rows):
            batch.token[i], batch.pos[i] = TOKEN, i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = request["logits"] == "all" or i == rows - 1
        return worker.milliseconds(self._decode)

    def _decode(self) -> None:
        if llama.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama_decode failed")
        llama.llama_synchronize(self.context)
        llama.llama_get_logits(self.context)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--widest", type=int, required=True, help="most rows of a pass")
    parser.add_argument("--ubatch", type=int, required=True, help="rows that share one pass over the weights")
    parser.add_argument("--no-mmap", action="store_true", help="read the file instead of mapping it")
    args = parser.parse_args()
    passes = Passes(args.gguf, args.threads, args.widest, args.ubatch, not args.no_mmap)
    worker.serve(passes.about(), passes.timed)


if __name__ == "__main__":
    main()
