#!/usr/bin/env bash
# Makes bench/peers/.venv with what compare.py measures beside dvlm. llama.cpp is compiled from the source in
# llama-cpp-python's sdist with this CPU's instructions, which takes ten minutes on two cores.
#   PYTHON  the interpreter (default /usr/bin/python3)
#   JOBS    compilers at once (default: all cores)
set -euo pipefail
cd "$(dirname "$0")"

[ -x .venv/bin/python ] || "${PYTHON:-/usr/bin/python3}" -m venv .venv
# A prebuilt llama.cpp would lack the instructions of this CPU, hence --no-binary.
CMAKE_ARGS="-DGGML_NATIVE=ON" CMAKE_BUILD_PARALLEL_LEVEL=${JOBS:-$(nproc)} \
  .venv/bin/pip install --disable-pip-version-check --no-binary llama-cpp-python -r requirements.txt
.venv/bin/python -c 'import gguf, llama_cpp, torch, transformers; print("bench/peers/.venv is ready")'
