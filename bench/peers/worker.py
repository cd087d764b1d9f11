"""The worker's side of the conversation with compare.py and answers.py: a JSON request per line on standard input,
a JSON answer per line on standard output. What the measured library prints goes to standard error."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable


def serve(about: dict, timed: Callable[[dict], float]) -> None:
    """Says what runs, then answers each request {"repeats": n, ...} with {"ms": median of n}. `timed`
    executes a request once and gives milliseconds; one execution before the n is not counted, as in dvlm
    bench pass."""
    answers = os.fdopen(_PROTOCOL, "w", buffering=1)
    print(json.dumps(about), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        timed(request)
        ms = statistics.median(timed(request) for _ in range(request["repeats"]))
        print(json.dumps({"ms": ms}), file=answers)


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


# Taken at import, before a library is loaded that may write to standard output.
_PROTOCOL = os.dup(1)
os.dup2(2, 1)
