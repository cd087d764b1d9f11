#!/usr/bin/env python3
"""A `dvlm serve` process, and clients of it: what check_load.py, check_faults.py and check_replicas.sh share.

  tools/checks/server_process.py URL [--requests 40 | --seconds 10] [--clients 4] [--stream]

sends one question about examples/desk.png and prints how many answers were right, wrong, refused (with which
status) and broken off, as JSON. Exit status 0 when every answer was right.
"""

import argparse
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PICTURE = Path(__file__).resolve().parents[2] / "examples" / "desk.png"
CHAT = "/v1/chat/completions"
QUESTION = "Where is the hammer?"
EXPECTED = "The hammer is at the top left."  # what dvlm-tiny says about desk.png


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode()


def user(text: str, picture: str | None = None) -> dict:
    """One message; `picture`: a data URL."""
    if picture is None:
        return {"role": "user", "content": text}
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}},
                                        {"type": "text", "text": text}]}


def question() -> dict:
    return {"messages": [user(QUESTION, data_url(PICTURE.read_bytes()))], "max_tokens": 24}


@dataclass
class Outcome:
    """What became of one request. `status` 0: no answer at all; `done` False: the answer broke off."""
    status: int = 0
    text: str = ""
    finish: str = ""
    tokens: int = 0
    done: bool = False
    error: str = ""
    first: float = 0.0  # seconds to the first text (streams) or to the answer
    total: float = 0.0
    headers: dict = field(default_factory=dict)


class Gone(Exception):
    """Raised by a client that goes away on purpose."""


def read_stream(response, outcome: Outcome, start: float, leave_after: int) -> None:
    events = 0
    while line := response.readline():
        if not line.startswith(b"data: "):
            continue
        content = line[6:].strip()
        if content == b"[DONE]":
            outcome.done = True
            continue
        event = json.loads(content)
        if "error" in event:
            outcome.error = event["error"]["message"]
            continue
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            if piece and not outcome.text:
                outcome.first = time.monotonic() - start
            outcome.text += piece
            outcome.finish = choice["finish_reason"] or outcome.finish
        outcome.tokens = (event.get("usage") or {}).get("completion_tokens", outcome.tokens)
        events += 1
        if 0 < leave_after <= events:
            raise Gone


def read_whole(content: bytes, outcome: Outcome) -> None:
    answer = json.loads(content)
    if "error" in answer:
        outcome.error = answer["error"]["message"]
    else:
        choice = answer["choices"][0]
        outcome.text, outcome.finish = choice["message"]["content"], choice["finish_reason"]
        outcome.tokens = answer["usage"]["completion_tokens"]
    outcome.done = True


def ask(address: tuple[str, int], body: dict | bytes, timeout: float = 60, leave_after: int = 0) -> Outcome:
    """Posts one chat request and reads the answer. `leave_after`: streamed events until the client goes."""
    outcome = Outcome()
    streamed = isinstance(body, dict) and body.get("stream", False)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    start = time.monotonic()
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("POST", CHAT, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        outcome.status, outcome.headers = response.status, dict(response.headers)
        if streamed and response.status == 200:
            read_stream(response, outcome, start, leave_after)
        else:
            read_whole(response.read(), outcome)
    except Gone:
        outcome.error = "gone"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        outcome.error = f"{type(error).__name__}: {error}"
        outcome.done = False
    finally:
        connection.close()
    outcome.total = time.monotonic() - start
    outcome.first = outcome.first or outcome.total
    return outcome


def get(address: tuple[str, int], path: str, timeout: float = 10) -> tuple[int, str]:
    """Status 0 and the reason when there is no answer."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def metrics(address: tuple[str, int]) -> dict[str, float]:
    lines = get(address, "/metrics")[1].splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("dvlm_") and " " in line)
    return {name: float(value) for name, value in pairs}


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class ServerProcess:
    """`dvlm serve` on loopback. Leaving the `with` block kills what still runs."""

    def __init__(self, dvlm: str, *flags: str, port: int = 0):
        command = [dvlm, "serve", "--port", str(port), *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        self.log: list[str] = []
        self.address = ("127.0.0.1", self.read_port())
        # Whoever does not read the log stops the server that writes it.
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def read_port(self) -> int:
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"http://[^/]+:(\d+)/v1", line):
                return int(found.group(1))
        self.process.wait()
        raise RuntimeError(f"dvlm serve ended with {self.process.returncode}: {''.join(self.log).strip()}")

    def status(self, name: str) -> int:
        """A number of /proc/PID/status: VmRSS and VmHWM in kB, Threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE).group(1))

    def reset_peak(self) -> int:
        """Begins a new measurement of VmHWM; what is in memory now, in kB."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.status("VmHWM")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self, signal_number: int = signal.SIGTERM, timeout: float = 60) -> int | None:
        """The exit status; None when it still runs after `timeout` seconds."""
        self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def in_threads(count: int, work, patience: float) -> bool:
    """Runs work(0) ... work(count - 1) at once; False when some still run after `patience` seconds."""
    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def connect(address: tuple[str, int], timeout: float = 10) -> socket.socket:
    return socket.create_connection(address, timeout)


def burst(address: tuple[str, int], requests: int, seconds: float, clients: int, stream: bool) -> Counter:
    """Counts "right", "wrong", "broken" and "status N" of one question asked again and again."""
    body = question() | ({"stream": True} if stream else {})
    counts, lock, begun = Counter(), threading.Lock(), time.monotonic()
    left = [requests if seconds <= 0 else 10**9]

    def client(_: int) -> None:
        while seconds <= 0 or time.monotonic() - begun < seconds:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    return
            outcome = ask(address, body)
            if outcome.status not in (0, 200):
                kind = f"status {outcome.status}"
            elif not outcome.done:
                kind = "broken"
            else:
                kind = "right" if outcome.text == EXPECTED else "wrong"
            with lock:
                counts[kind] += 1

    if not in_threads(clients, client, patience=max(seconds, 0) + 120):
        counts["hanging"] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--stream", action="store_true")
    given = parser.parse_args()
    url = urlsplit(given.url)
    counts = burst((url.hostname, url.port), given.requests, given.seconds, given.clients, given.stream)
    print(json.dumps(dict(counts)))
    return 0 if set(counts) == {"right"} else 1


if __name__ == "__main__":
    sys.exit(main())
