#!/usr/bin/env python3
"""Many clients at once on one `dvlm serve`, for minutes: wrong answers, errors, memory that grows, places that stay taken.

  tools/checks/check_load.py <dvlm> [--minutes 5] [--clients 8] [--restart] [--model FOLDER] [--json]
  tools/checks/check_load.py <dvlm> --scaling        tokens per second of one client against four

Every question is first asked alone; each later answer must be that text, whatever runs beside it, sampled ones (with
a seed) too. Clients ask, stream, continue conversations, show new pictures, go away before or within an answer, and ask
wrongly, in an order that follows from --seed. With --restart the server is told to end when half of the time is over,
and started again on its port. Exit status 1 when something failed.
"""

import argparse
import json
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass

import malformed
from server_process import PICTURE, Outcome, ServerProcess, ask, connect, data_url, in_threads, metrics, percentile, user

DECODERS = ("ar", "spec", "fused", "auto", "mdm")
GROWTH = 2.0  # per cent of memory, after the warm-up, that count as a leak


@dataclass
class Question:
    name: str
    body: dict
    expected: str = ""
    tokens: int = 0


def picture_urls() -> list[str]:
    """Few, always the same: every new picture would rightly take memory, until the server's cache is full."""
    desk = data_url(PICTURE.read_bytes())
    return [desk, data_url(malformed.png(96, 64)), data_url(malformed.png(300, 200, depth=8))]


def conversation(server: ServerProcess, picture: str) -> list[Question]:
    """Turns that share what came before."""
    messages, out = [], []
    for number, text in enumerate(("Where is the hammer?", "How many objects are there?", "Describe the picture.")):
        messages = [*messages, user(text, picture if number == 0 else None)]
        out.append(Question(f"turn {number + 1}", {"messages": messages, "max_tokens": 60}))
        answer = ask(server.address, out[-1].body)
        messages = [*messages, {"role": "assistant", "content": answer.text}]
    return out


def questions(server: ServerProcess) -> list[Question]:
    out = []
    for decoder in DECODERS:
        extra = {"dvlm": {"decoder": decoder, "block_size": 16}}
        for number, picture in enumerate(picture_urls()):
            for text, most in (("Describe the picture.", 120), ("Where is the hammer?", 5)):
                out.append(Question(f"{decoder}, picture {number}, {text}", {"messages": [user(text, picture)], "max_tokens": most} | extra))
        out.append(Question(f"{decoder}, text", {"messages": [user("Tell me everything.")], "max_tokens": 200} | extra))
        out.append(Question(f"{decoder}, long text", {"messages": [user("one two three " * 100)], "max_tokens": 8} | extra))
    for seed in range(4):
        for decoder in ("ar", "spec"):
            body = {"messages": [user("Describe the picture.", picture_urls()[0])], "max_tokens": 60, "temperature": 1.3, "seed": seed}
            out.append(Question(f"{decoder}, seed {seed}", body | {"dvlm": {"decoder": decoder}}))
    frames = {"role": "user", "content": [{"type": "video", "video": picture_urls()[1:2] * 4, "fps": 2.0}, {"type": "text", "text": "What happens?"}]}
    out.append(Question("video", {"messages": [frames], "max_tokens": 30}))
    out.append(Question("stop", {"messages": [user("Describe the picture.", picture_urls()[0])], "stop": ". There", "max_tokens": 80}))
    return out + conversation(server, picture_urls()[0])


def fill_table(server: ServerProcess, table: list[Question]) -> list[str]:
    """Asks each question alone. Returns what was not answered, or not alike by decoders that must agree."""
    problems, texts = [], {}
    for question in table:
        answer = ask(server.address, question.body)
        if answer.status != 200 or not answer.done or answer.error:
            problems.append(f"{question.name}: {answer.status} {answer.error}")
        question.expected, question.tokens = answer.text, answer.tokens
        decoder = question.body.get("dvlm", {}).get("decoder", "auto")
        if decoder == "mdm":
            continue
        alike = json.dumps({k: v for k, v in question.body.items() if k != "dvlm"})
        if texts.setdefault(alike, answer.text) != answer.text:
            problems.append(f"{question.name}: another text than that of the decoder before")
    return problems


def wrong_requests() -> list[tuple[dict | bytes, int]]:
    """Requests and the status that docs/serving.md promises."""
    hello = {"messages": [user("Hello")], "max_tokens": 2}
    return [(b"{", 400), (hello | {"n": 17}, 400), (hello | {"model": "gpt-9"}, 404), (hello | {"max_tokens": 0}, 400),
            (hello | {"dvlm": {"decoder": "warp"}}, 400), (hello | {"colour": "red"}, 400), ({"messages": []}, 400),
            ({"messages": [user("x", "http://127.0.0.1/x.png")]}, 400), ({"messages": [user("x", "data:image/png;base64,AAAA")]}, 400),
            ({"messages": [user("word " * 5000)]}, 400), ({"messages": [user("word " * 5000)], "stream": True}, 400)]


class Load:
    """The clients and what they saw."""

    def __init__(self, server: ServerProcess, table: list[Question], seed: int):
        self.server, self.table, self.seed = server, table, seed
        self.counts, self.problems, self.lock = Counter(), [], threading.Lock()
        self.first, self.total, self.tokens = [], [], 0
        self.over, self.restarting = threading.Event(), threading.Event()
        self.wrong = wrong_requests()

    def count(self, kind: str, problem: str = "") -> None:
        with self.lock:
            self.counts[kind] += 1
            if problem:
                self.problems.append(problem)

    def client(self, number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")
        while not self.over.is_set():
            draw = rng.random()
            try:
                if draw < 0.08:
                    self.leave_before(rng.choice(self.table), rng.random() * 0.05)
                elif draw < 0.16:
                    self.leave_within(rng.choice(self.table), rng.randint(1, 5))
                elif draw < 0.26:
                    self.ask_wrongly(*rng.choice(self.wrong))
                elif draw < 0.42:
                    self.show_new_picture(rng.randint(300, 1000), rng.randint(300, 1000))  # soon fill the cache of features
                else:
                    self.ask(rng.choice(self.table), rng.random() < 0.5)
            except OSError as error:
                if not self.turned_away(0):
                    self.count("no connection", f"{type(error).__name__}: {error}")

    def turned_away(self, status: int, headers: dict | None = None) -> bool:
        """Whether a client is to come again: places are taken, or the server is not there while it starts again."""
        if status == 429 and "Retry-After" in (headers or {}):
            self.count("429")
        elif status in (0, 503) and self.restarting.is_set():
            self.count("turned away by the restart")
        else:
            return False
        time.sleep(0.1)
        return True

    def ask(self, question: Question, stream: bool) -> None:
        body = question.body | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})
        answer = ask(self.server.address, body, 120)
        kind = "streamed" if stream else "whole"
        if self.turned_away(answer.status, answer.headers):
            return
        if answer.status != 200 or not answer.done or answer.error:
            self.count("error", f"{question.name}, {kind}: {answer.status} {answer.error or 'broke off'}")
        elif (answer.text, answer.tokens) != (question.expected, question.tokens):
            self.count("wrong text", f"{question.name}, {kind}: {answer.text!r}, expected {question.expected!r}")
        else:
            self.count(kind)
            self.note(answer, stream)

    def note(self, answer: Outcome, stream: bool) -> None:
        with self.lock:
            self.total.append(answer.total)
            self.tokens += answer.tokens
            if stream:
                self.first.append(answer.first)

    def show_new_picture(self, width: int, height: int) -> None:
        """Two decoders that must agree, of which the second finds the picture in the cache."""
        messages = [user("Describe the picture.", data_url(malformed.png(width, height)))]
        texts = []
        for decoder in ("ar", "spec"):
            answer = ask(self.server.address, {"messages": messages, "max_tokens": 20, "dvlm": {"decoder": decoder}}, 120)
            if self.turned_away(answer.status, answer.headers):
                return
            if answer.status != 200 or not answer.done or answer.error:
                return self.count("error", f"new picture, {decoder}: {answer.status} {answer.error or 'broke off'}")
            texts.append(answer.text)
        if texts[0] == texts[1]:
            self.count("new picture")
        else:
            self.count("wrong text", f"new picture {width}x{height}: {texts}")

    def leave_before(self, question: Question, seconds: float) -> None:
        with connect(self.server.address) as sock:
            sock.sendall(malformed.with_head(json.dumps(question.body).encode()))
            time.sleep(seconds)
        self.count("left before the answer")

    def leave_within(self, question: Question, events: int) -> None:
        answer = ask(self.server.address, question.body | {"stream": True}, 120, leave_after=events)
        if self.turned_away(answer.status, answer.headers):
            return
        if answer.status == 200:
            self.count("left within a stream")
        else:
            self.count("error", f"{question.name}, left: {answer.status} {answer.error}")

    def ask_wrongly(self, body: dict | bytes, status: int) -> None:
        answer = ask(self.server.address, body, 120)
        if answer.status == status and answer.error:
            self.count(f"{status} as documented")
        elif not self.turned_away(answer.status, answer.headers):
            self.count("error", f"wrong request {str(body)[:80]}: {answer.status} {answer.error}, expected {status}")


@dataclass
class Usage:
    """Of one process, once a second."""
    memory: list[float]  # MB
    pictures: list[float]  # bytes of features that the cache held
    descriptors: list[int]
    threads: list[int]


def watch(server: ServerProcess, seconds: float) -> Usage:
    usage, end = Usage([], [], [], []), time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        usage.memory.append(server.status("VmRSS") / 1024)
        usage.pictures.append(metrics(server.address).get("dvlm_picture_bytes", 0))
        usage.descriptors.append(server.descriptors())
        usage.threads.append(server.status("Threads"))
        time.sleep(1)
    return usage


def run_load(load: Load, clients: int, seconds: float, restart) -> list[Usage]:
    """Of each process that served: a second one follows where `restart` starts it, when half of the time is over."""
    threads = threading.Thread(target=in_threads, args=(clients, load.client, seconds + 180))
    threads.start()
    usages = [watch(load.server, seconds / (2 if restart else 1))]
    if restart and load.server.process.poll() is None:
        load.restarting.set()
        load.server = restart(load.server)
        time.sleep(1)  # clients that were turned away have noticed
        load.restarting.clear()
        usages.append(watch(load.server, seconds / 2))
    load.over.set()
    threads.join()
    return usages


def growth(usage: Usage) -> tuple[float, float, float]:
    """MB after the warm-up and at the end, and the fitted line's rise between them in per cent.

    The warm-up is a fifth of the time, or longer, half of it at most, until the cache of pictures is full.
    """
    full = next(n for n, held in enumerate(usage.pictures) if held >= 0.99 * max(usage.pictures))
    samples = len(usage.memory)
    steady = usage.memory[max(samples // 5, min(full, samples // 2)):]
    if len(steady) < 3:
        return usage.memory[0], usage.memory[-1], 0.0
    slope, at = statistics.linear_regression(range(len(steady)), steady)
    return steady[0], steady[-1], 100 * slope * (len(steady) - 1) / at


def settled(server: ServerProcess, patience: float = 30) -> dict[str, float]:
    end = time.monotonic() + patience
    while True:
        now = metrics(server.address)
        if now.get("dvlm_requests_running") == now.get("dvlm_requests_waiting") == 0 or time.monotonic() > end:
            return now
        time.sleep(0.2)


def load_check(given, flags: list[str]) -> dict:
    statuses = []

    def restart(server: ServerProcess) -> ServerProcess:
        statuses.append(server.end(signal.SIGTERM))
        return ServerProcess(given.dvlm, *flags, port=server.address[1])

    with ServerProcess(given.dvlm, *flags) as server:
        table = questions(server)
        problems = fill_table(server, table)
        before, load = settled(server), Load(server, table, given.seed)
        idle = (server.descriptors(), server.status("Threads"))
        start = time.monotonic()
        usages = run_load(load, given.clients, given.minutes * 60, restart if given.restart else None)
        seconds = time.monotonic() - start
        with load.server as last_server:
            alive = last_server.process.poll() is None
            after = settled(last_server) if alive else {}
            statuses.append(last_server.end() if alive else last_server.process.returncode)
    grown = [growth(usage) for usage in usages]
    rise = max(abs(g[2]) for g in grown)
    # A client that went away may have its next connection before the server sees that the last one is gone.
    most = (max(max(u.descriptors) for u in usages), max(max(u.threads) for u in usages))
    checks = {"every question is answered alone, alike by lossless decoders": not problems,
              "every answer is the one given alone": load.counts["wrong text"] == 0,
              "no error beyond the documented ones": load.counts["error"] + load.counts["no connection"] == 0,
              "answers were given": load.counts["whole"] > 0 and load.counts["streamed"] > 0,
              f"memory changed by less than {GROWTH:g} % after the warm-up": rise < GROWTH,
              "descriptors and threads are those of the clients": max(most[0] - idle[0], most[1] - idle[1]) <= 2 * given.clients,
              "nothing runs or waits at the end": after.get("dvlm_requests_running") == after.get("dvlm_requests_waiting") == 0,
              "SIGTERM ends it with status 0": not any(statuses)}
    return {"pass": all(checks.values()), "checks": checks, "problems": (problems + load.problems)[:20],
            "questions": len(table), "clients": given.clients, "seconds": round(seconds, 1), "outcomes": dict(load.counts),
            "requests_per_s": round(sum(load.counts.values()) / seconds, 1), "tokens_per_s": round(load.tokens / seconds, 1),
            "first_text_ms": {f"p{p}": round(1000 * percentile(load.first, p / 100), 1) for p in (50, 95)},
            "total_ms": {f"p{p}": round(1000 * percentile(load.total, p / 100), 1) for p in (50, 95)},
            "memory_mb": [{"after_warm_up": round(warm, 1), "end": round(last, 1), "growth_percent": round(rise, 2)} for warm, last, rise in grown],
            "memory_mb_every_minute": [[round(m, 1) for m in usage.memory[::60]] for usage in usages],
            "descriptors": {"before": idle[0], "most": most[0]}, "threads": {"before": idle[1], "most": most[1]},
            "exit_status": statuses, "metrics_before": before, "metrics_after": after}


def speed(server: ServerProcess, body: dict, clients: int, each: int) -> float:
    """Tokens per second of `clients` that ask together `each` times four questions."""
    tokens, lock, left = [0], threading.Lock(), [4 * each]

    def client(_: int) -> None:
        while True:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    return
            answer = ask(server.address, body)
            with lock:
                tokens[0] += answer.tokens

    start = time.monotonic()
    in_threads(clients, client, 300)
    return tokens[0] / (time.monotonic() - start)


def scaling_check(given, flags: list[str]) -> dict:
    out = {}
    with ServerProcess(given.dvlm, *flags) as server:
        for decoder in given.decoders.split(","):
            body = {"messages": [user("Describe the picture.", picture_urls()[0] if given.model is None else None)], "max_tokens": given.tokens, "dvlm": {"decoder": decoder}}
            ask(server.address, body)
            rounds = [(speed(server, body, 1, given.answers), speed(server, body, 4, given.answers)) for _ in range(given.rounds)]
            ratios = sorted(four / one for one, four in rounds)
            out[decoder] = {"one_client": round(statistics.median(r[0] for r in rounds), 1),
                            "four_clients": round(statistics.median(r[1] for r in rounds), 1),
                            "ratio": round(statistics.median(ratios), 3), "ratios": [round(r, 3) for r in ratios]}
        status = server.end()
    return {"pass": status == 0, "rounds": given.rounds, "tokens_per_s": out}


def show(result: dict) -> None:
    for name, fine in result.get("checks", {}).items():
        print(f"{'PASS' if fine else 'FAIL'}  {name}")
    for problem in result.get("problems", []):
        print(f"      {problem[:300]}")
    for name in ("outcomes", "requests_per_s", "tokens_per_s", "first_text_ms", "total_ms", "memory_mb", "memory_mb_every_minute", "descriptors", "threads", "exit_status"):
        if name in result:
            print(f"{name}: {json.dumps(result[name])}")
    for name, value in result.get("metrics_after", {}).items():
        print(f"{name}: {result['metrics_before'].get(name, 0):g} -> {value:g}")
    print("PASS" if result["pass"] else "FAIL")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--restart", action="store_true", help="end and start the server in the middle")
    parser.add_argument("--model", help="folder; default: the model that comes with dvlm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--rounds", type=int, default=7, help="of --scaling")
    parser.add_argument("--answers", type=int, default=5, help="of --scaling: in turn, of every client and round")
    parser.add_argument("--tokens", type=int, default=120, help="of --scaling: most of an answer")
    parser.add_argument("--decoders", default="ar,spec", help="of --scaling")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    # Little memory for prefixes: what is kept for later must be full before a leak is looked for.
    flags = ["--model-name", "server", "--kv-memory", "4GiB" if given.scaling else "64MiB"] + (["--model", given.model] if given.model else [])
    result = scaling_check(given, flags) if given.scaling else load_check(given, flags)
    print(json.dumps(result)) if given.json else show(result)
    return 0 if result["pass"] else 1


if __name__ == "__main__":
    sys.exit(main())
