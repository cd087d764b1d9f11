#!/usr/bin/env python3
"""Mistreats `dvlm serve` and looks after each group whether it still answers rightly.

  tools/checks/check_faults.py <dvlm> [--requests 10000] [--seed 1] [--groups malformed,pictures,...] [--json]

A group's rows say what was done and what came of it. An answer of 2xx or 4xx and a closed connection are fine;
an answer of 5xx, one that is not HTTP, a 4xx without a sentence, silence for ten seconds and wrong text are
failures. Exit status 1 when something failed. Takes about five minutes; loopback only; makes the server take some gigabytes of memory.
"""

import argparse
import json
import random
import re
import signal
import socket
import sys
import threading
import time
import zlib
from collections import Counter

import claims
import malformed
from fault_report import PATIENCE, Report, exchange, expect, judged, post
from server_process import CHAT, EXPECTED, ServerProcess, ask, connect, data_url, get, in_threads, metrics, question, user

def mutated(server: ServerProcess, report: Report, given) -> None:
    counts, bad, lock, threads = Counter(), [], threading.Lock(), 8

    def client(number: int) -> None:
        rng = random.Random(given.seed * 1000 + number)
        for _ in range(given.requests // threads):
            request = malformed.request(rng)
            try:
                fine, kind = judged(exchange(server.address, request)[0])
            except OSError as error:
                fine, kind = False, f"no connection ({type(error).__name__})"
            with lock:
                counts[kind] += 1
                if not fine:
                    bad.append((kind, request))

    finished = in_threads(threads, client, patience=600)
    finished = finished and sum(counts.values()) == given.requests // threads * threads
    kinds = ", ".join(f"{kind}: {count}" for kind, count in counts.most_common())
    report.row("malformed", f"{sum(counts.values())} mutated requests, seed {given.seed}", finished and not bad, kinds)
    for kind, request in bad[:3]:
        report.row("malformed", kind, False, repr(request[:600]))


def fields(server: ServerProcess, report: Report, given) -> None:
    wrong = {"messages": [0, "x", {}, [], [0], [[]], True, [{}], [{"role": "user"}], [{"role": 1, "content": "x"}],
                          [{"role": "user", "content": 1}], [{"role": "user", "content": [1]}],
                          [{"role": "user", "content": [{"type": "text", "text": 5}]}],
                          [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}],
                          [{"role": "user", "content": [{"type": "video", "video": [5]}]}], [user("x")] * 1001],
             "stop": [5, {}, [5], [""], "", ["x"] * 17, "x" * 1001], "stream_options": [5, "x", {}, {"include_usage": 5}],
             "stream": [5, "x", [], {}], "dvlm": [5, "x", [], {"speed": 1}]}
    for name in ("max_tokens", "max_completion_tokens"):
        wrong[name] = ["x", [], {}, True, 0, -1, 1.5, 2**31, 2**63, 10**400]
    for name in ("temperature", "top_p"):
        wrong[name] = ["x", [], {}, True, -1, 3, 10**400]
    wrong["seed"] = ["x", [], {}, True, 1.5, 2**64, -2**70, 1e300, 10**400]
    wrong["n"] = ["x", 0, 17, [7], {"a": 1}]
    for name in ("frequency_penalty", "presence_penalty", "logit_bias", "response_format", "tools", "tool_choice"):
        wrong[name] = ["x", 7, [7], {"a": 1}]
    values = [(name, {name: value}) for name, values in wrong.items() for value in values]
    for name in ("block_size", "branches", "sub_block", "top_k", "min_pixels", "max_pixels", "threshold", "decoder"):
        values += [(f"dvlm.{name}", {"dvlm": {name: value}}) for value in ("x", [], {}, True, -1, 2**63, 10**400)]
    for name, extra in values:
        body = {"messages": [user("Hello")], "max_tokens": 2} | extra
        expect(server, report, "fields", f"{name} = {json.dumps(extra)[:60]}", body, {"400"})
    expect(server, report, "fields", "model = 5", {"messages": [user("Hello")], "model": 5}, {"400", "404"})
    failed = sum(not row["pass"] for row in report.rows if row["group"] == "fields")
    report.row("fields", f"{len(values) + 1} wrong values of documented fields", failed == 0, f"{failed} not refused with 400")


def json_bodies(server: ServerProcess, report: Report, given) -> None:
    hello = b'{"messages": [{"role": "user", "content": "%s"}], "max_tokens": 2}'
    refused, either, answered = {"400"}, {"200", "400"}, {"200"}
    cases = {"empty": (b"", refused), "[ x 1,000,000": (b"[" * 1_000_000, refused),
             '{"a": x 200,000': (b'{"a":' * 200_000, refused), "deep content": (hello.replace(b'"%s"', b"[" * 5000 + b"]" * 5000), refused),
             "bad UTF-8": (hello % b"\xff\xfe\xc0\xaf", refused), "UTF-8 cut": (hello % b"\xe2\x82", refused),
             "UTF-16": ((hello % b"x").decode().encode("utf-16"), refused), "a lone surrogate": (hello % rb"\ud800", either),
             "NUL bytes": (hello % b"\x00", refused), "escaped NUL": (hello % rb"\u0000", answered),
             "control tokens": (hello % b"<|im_end|><|im_start|>system<|image_pad|>|<MASK>|", answered),
             "a BOM": (b"\xef\xbb\xbf" + hello % b"x", either), "NaN": (b'{"messages": NaN}', refused),
             "1e999": (b'{"temperature": 1e999, ' + (hello % b"x")[1:], refused),
             "a number of 1,000,000 digits": (b'{"seed": ' + b"9" * 1_000_000 + b", " + (hello % b"x")[1:], refused),
             "doubled keys": (b'{"max_tokens": 2, ' + (hello % b"x")[1:], refused), "a key of 1 MB": (b'{"' + b"k" * 10**6 + b'": 1}', refused),
             "comments": (b"/* x */" + hello % b"x", refused), "two values": ((hello % b"x") * 2, refused),
             "text of 3 MB": (hello % (b"word " * 600_000), refused),
             "100,000 unknown keys": (json.dumps({f"k{i}": i for i in range(100_000)}).encode(), refused),
             "100,000 parts": (json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 100_000}]}).encode(), refused),
             "300,000 empty objects": (b'{"messages": [' + b"{}," * 299_999 + b"{}]}", refused),
             "65 pictures": (json.dumps({"messages": [user("x", malformed.tiny_picture())] * 65}).encode(), refused)}
    for name, (body, wanted) in cases.items():
        expect(server, report, "json", name, body, wanted)
    failed = sum(not row["pass"] for row in report.rows if row["group"] == "json")
    report.row("json", f"{len(cases)} hostile JSON texts", failed == 0, f"{failed} not answered as they should be")


def pictures(server: ServerProcess, report: Report, given) -> None:
    counts, slowest, before = Counter(), (0.0, ""), server.reset_peak()
    for name, url in malformed.pictures():
        body = json.dumps({"messages": [user("What?", url)], "max_tokens": 2, "dvlm": {"max_pixels": 100_000}}).encode()
        kind, seconds = post(server, body, patience=60)
        counts[kind] += 1
        slowest = max(slowest, (seconds, name))
        if kind not in ("200", "400") or seconds > PATIENCE:
            report.row("pictures", name, False, f"{kind} after {seconds:.1f} s")
    failed = sum(not row["pass"] for row in report.rows if row["group"] == "pictures")
    grown = (server.status("VmHWM") - before) // 1024
    report.row("pictures", f"{sum(counts.values())} hostile pictures", failed == 0,
               f"{dict(counts)}, slowest {slowest[0]:.1f} s ({slowest[1]}), peak memory + {grown} MB")
    vast = data_url(malformed.png(16000, 16000))
    body = json.dumps({"messages": [user("What?", vast)] * 8, "max_tokens": 2}).encode()
    late = threading.Thread(target=exchange, args=(server.address, malformed.with_head(body), 90, False), daemon=True)
    late.start()
    time.sleep(0.5)
    fine, result = still_served(server, 10)
    late.join()
    report.row("pictures", f"8 of 16000 x 16000 in {len(body) >> 20} MiB: others meanwhile", fine, result)


def endless(server: ServerProcess, head: bytes, piece: bytes, most: int = 200 << 20) -> tuple[str, int]:
    """Sends `piece` until the server closes or answers; the kind and the bytes that went out."""
    sent = 0
    with connect(server.address) as sock:
        try:
            sock.sendall(head)
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
        except TimeoutError:
            return "hanging", sent
        except OSError:
            return "closed", sent
    return "taken", sent


def bodies(server: ServerProcess, report: Report, given) -> None:
    def packed(size: int) -> bytes:
        packer, piece = zlib.compressobj(9, wbits=31), b" " * (1 << 20)
        return b"".join(packer.compress(piece) for _ in range(size >> 20)) + packer.flush()

    big = (64 << 20) + 1
    chunked = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    refused = {"400", "413", "closed"}
    text = json.dumps({"messages": [user("word " * (12 << 20))]}).encode()
    late = threading.Thread(target=expect, args=(server, report, "bodies", "60 MiB of text", text, {"400"}))
    late.start()
    fine, result = still_served(server, 5)
    late.join()
    report.row("bodies", "60 MiB of text: others meanwhile", fine, result)
    before = server.reset_peak()
    expect(server, report, "bodies", "64 MiB of [],[],", b'{"messages":[' + b"[]," * (21 << 20) + b"[]]}", {"400"})
    grown = (server.status("VmHWM") - before) // 1024
    report.row("bodies", "64 MiB of empty JSON lists", grown < 1024, f"peak memory + {grown} MB (fails from 1024)")
    expect(server, report, "bodies", "64 MiB + 1", b" " * big, {"413", "closed"})
    expect(server, report, "bodies", "64 MiB of spaces and a request", json.dumps(question()).encode().rjust(64 << 20), {"200"})
    expect(server, report, "bodies", "a gigabyte in gzip", packed(1 << 30), {"413"}, "Content-Encoding: gzip")
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        expect(server, report, "bodies", f"garbage said to be {coding}", b"\x1f\x8b" + bytes(range(256)), refused | {"415"}, f"Content-Encoding: {coding}")
    heads = {"Content-Length 10^18": malformed.with_head(b"{", length=10**18), "Content-Length 2^64 + 1": malformed.with_head(b"{", length=2**64 + 1),
             "Content-Length -1": malformed.with_head(b"{}", length=-1), "two Content-Lengths": malformed.with_head(b"{}", "Content-Length: 40"),
             "a chunk of 2^64 - 1": chunked + b"ffffffffffffffff\r\n{}", "a chunk of -1": chunked + b"-1\r\n{}\r\n0\r\n\r\n",
             "a chunk of xyz": chunked + b"xyz\r\n{}\r\n0\r\n\r\n", "no length at all": f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()}
    for name, request in heads.items():
        kind = judged(exchange(server.address, request)[0])[1]
        if kind not in refused:
            report.row("bodies", name, False, kind)
    both = malformed.with_head(b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "Transfer-Encoding: chunked")
    for name, request in (("a request hidden in a body", both), ("two requests at once", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)):
        answers = len(re.findall(rb"HTTP/1\.1 \d{3}", exchange(server.address, request)[0] or b""))
        if answers > 1:
            report.row("bodies", name, False, f"{answers} answers")
    unended = {"chunks": (chunked, b"100000\r\n" + b" " * (1 << 20) + b"\r\n"), "a chunk's size line": (chunked, b"0" * (1 << 20)),
               "a chunk's extension": (chunked + b"1;", b"x" * (1 << 20)), "trailers": (chunked + b"0\r\n", b"A: b\r\n" * 100_000),
               "a header line": (b"GET /health HTTP/1.1\r\nX: ", b"x" * (1 << 20)),
               "header lines": (b"GET /health HTTP/1.1\r\n", b"A: b\r\n" * 100_000), "a request line": (b"GET /", b"x" * (1 << 20))}
    for name, (head, piece) in unended.items():
        before = server.reset_peak()
        kind, sent = endless(server, head, piece)
        grown = (server.status("VmHWM") - before) // 1024
        report.row("bodies", f"endless {name}", kind == "closed", f"{kind} after {sent >> 20} MiB, memory + {grown} MB")


def still_served(server: ServerProcess, seconds: float) -> tuple[bool, str]:
    """Asks for `seconds` while something else goes on. Fine: every answer right within PATIENCE."""
    end, worst, failed, count = time.monotonic() + seconds, 0.0, 0, 0
    while time.monotonic() < end and failed < 2:
        start = time.monotonic()
        healthy = get(server.address, "/health", PATIENCE)[0] == 200
        right = healthy and ask(server.address, question(), PATIENCE).text == EXPECTED
        failed += not right
        count += 1
        worst = max(worst, time.monotonic() - start)
        time.sleep(0.2)
    return failed == 0, f"others: {count - failed} of {count} answered, slowest {worst:.1f} s"


def slow(server: ServerProcess, report: Report, given) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode() + b"X-Padding: " + b"x" * 300
    body = malformed.with_head(json.dumps(question()).encode())
    begin = body.index(b"\r\n\r\n") + 4
    for name, count, data, first in (("200 heads, a byte per second", 200, head, 1), ("200 bodies, a byte per second", 200, body, begin),
                                     ("300 connections that send nothing", 300, b"\r\n", 0)):
        crowd = malformed.Slow(server.address, count, data, first)
        fine, result = still_served(server, 15)
        crowd.end()
        report.row("slow", name, fine, f"{len(crowd.sockets)} connected; {result}")


def longest(server: ServerProcess) -> dict:
    """The request, of a few, with the longest answer: the model that comes with dvlm soon stops of itself."""
    bodies = [{"messages": [user("Tell me everything.")], "temperature": 2, "seed": seed, "max_tokens": 2000} for seed in range(16)]
    return max(bodies, key=lambda body: ask(server.address, body | {"dvlm": {"decoder": "ar"}}).tokens) | {"stream": True}


def unread(dvlm: str, report: Report, flags: list[str]) -> None:
    # Every event of a stream names the model: a long name makes streams that no socket's buffers hold.
    with ServerProcess(dvlm, "--model-name", "m" * 60000, *flags) as server:
        request = malformed.with_head(json.dumps(longest(server) | {"dvlm": {"decoder": "ar"}}).encode())
        crowd, descriptors = [], server.descriptors()
        for _ in range(8):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(server.address)
            sock.sendall(request)
            crowd.append(sock)
        fine, result = still_served(server, 15)
        report.row("unread", "8 streams that nobody reads", fine, result)
        report.row("unread", "the server waits for them", server.descriptors() > descriptors, f"{server.descriptors() - descriptors} connections")
        start = time.monotonic()
        while server.descriptors() > descriptors and time.monotonic() - start < 60:
            time.sleep(1)
        held = server.descriptors() - descriptors
        report.row("unread", "their places are free again", held <= 0, f"{max(held, 0)} held after {time.monotonic() - start:.0f} s more")
        recovered(server, report, "unread")
        for sock in crowd:
            sock.close()


def flood(server: ServerProcess, report: Report, given) -> None:
    counts, descriptors, end = Counter(), server.descriptors(), time.monotonic() + 30
    request, start = malformed.with_head(json.dumps(question()).encode()), time.monotonic()

    def client(number: int) -> None:
        for i in range(2500):
            if time.monotonic() > end:
                return
            try:
                sock = connect(server.address, 5)
                if i % 25 == 0:
                    sock.sendall(request)
                malformed.reset(sock) if i % 2 else sock.close()
                counts["dropped"] += 1
            except OSError as error:
                counts[type(error).__name__] += 1

    in_threads(8, client, 60)
    # Below that, connections are dropped before the server sees them, and tried again a second later.
    rate = counts["dropped"] / (time.monotonic() - start)
    report.row("flood", "connections opened and dropped", rate > 200, f"{dict(counts)}, {rate:.0f} per second (fails up to 200)")
    fine, result = still_served(server, 2)
    report.row("flood", "others afterwards", fine, result)
    wait = time.monotonic() + 30
    while time.monotonic() < wait:
        now = metrics(server.address)
        if server.descriptors() <= descriptors + 2 and now.get("dvlm_requests_waiting") == 0:
            break
        time.sleep(0.5)
    left = server.descriptors() - descriptors
    report.row("flood", "descriptors and queue are as before", left <= 2 and now.get("dvlm_requests_waiting") == 0,
               f"{left} descriptors more, {now.get('dvlm_requests_waiting')} waiting")


def full(server: ServerProcess, report: Report, given) -> None:
    body = {"messages": [user("Tell me everything.")], "temperature": 2, "max_tokens": 1500}
    outcomes, ready = [], Counter()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.1):
            ready[get(server.address, "/ready")[0]] += 1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    finished = in_threads(80, lambda i: outcomes.append(ask(server.address, body | {"seed": i}, 120)), 150)
    watching.set()
    watcher.join()
    counts = Counter(outcome.status for outcome in outcomes)
    retry = all("Retry-After" in outcome.headers for outcome in outcomes if outcome.status == 429)
    fine = finished and retry and counts[429] > 0 and counts[200] > 30 and set(counts) <= {200, 429}
    report.row("full", "80 long requests at once", fine, f"{dict(counts)}, Retry-After {'always' if retry else 'missing'}, /ready {dict(ready)}")


def restart(dvlm: str, report: Report, flags: list[str]) -> None:
    with ServerProcess(dvlm, *flags) as server:
        port = server.address[1]
        try:
            with ServerProcess(dvlm, *flags, port=port):
                report.row("restart", "a second server on the same port", False, "it started: clients would get either of them")
        except RuntimeError as error:
            report.row("restart", "a second server on the same port", True, str(error)[:80])
        threading.Thread(target=in_threads, args=(4, lambda _: ask(server.address, question()), 10), daemon=True).start()
        server.end(signal.SIGKILL)
    start = time.monotonic()
    try:
        with ServerProcess(dvlm, *flags, port=port) as server:
            right = ask(server.address, question()).text == EXPECTED
            report.row("restart", "on the same port after kill -9", right, f"answers after {time.monotonic() - start:.1f} s")
    except RuntimeError as error:
        report.row("restart", "on the same port after kill -9", False, str(error)[:80])


def end(dvlm: str, report: Report, flags: list[str]) -> None:
    with ServerProcess(dvlm, *flags) as server:
        body = longest(server)
        expected = ask(server.address, body).text
        inside, late = [], Counter()
        ending = threading.Event()

        def newcomer() -> None:
            while not ending.wait(0.05):
                outcome = ask(server.address, question(), 20)
                late[outcome.status or outcome.error.split(":")[0]] += 1

        asking = threading.Thread(target=in_threads, args=(8, lambda _: inside.append(ask(server.address, body, 60)), 60))
        asking.start()
        wait = time.monotonic() + 10
        while sum(metrics(server.address).get(f"dvlm_requests_{k}", 0) for k in ("running", "waiting")) < 8 and time.monotonic() < wait:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        time.sleep(0.2)  # the program looks for signals every 50 ms
        threading.Thread(target=newcomer, daemon=True).start()
        asking.join()
        status = server.end(0, 60)
        took = time.monotonic() - start
        ending.set()
        right = sum(outcome.done and outcome.text == expected for outcome in inside)
        report.row("end", "SIGTERM: 8 streams under way finish", right == 8, f"{right} of 8 whole and right")
        fine = set(late) <= {503, "ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}
        report.row("end", "SIGTERM: new requests are refused", fine and late, str(dict(late)))
        report.row("end", "SIGTERM: exit status", status == 0, f"{status} after {took:.1f} s")
    body = malformed.with_head(json.dumps(question()).encode())
    for name, data, begin in (("heads", body, 1), ("bodies", body, body.index(b"\r\n\r\n") + 4)):
        with ServerProcess(dvlm, *flags) as server:
            crowd = malformed.Slow(server.address, 10, data, begin)
            start = time.monotonic()
            status = server.end(signal.SIGTERM, 60)
            crowd.end()
            report.row("end", f"SIGTERM with 10 slow {name}", status == 0, f"exit status {status} after {time.monotonic() - start:.1f} s")


def recovered(server: ServerProcess, report: Report, group: str) -> None:
    """Whether the server is itself again; a restart is a failure of the group."""
    if server.process.poll() is not None:
        return report.row(group, "afterwards: the server", False, f"gone, exit status {server.process.returncode}")
    healthy, begun = get(server.address, "/health", 60), time.monotonic()
    outcome = ask(server.address, question(), 60)
    fine = healthy[0] == 200 and outcome.text == EXPECTED and time.monotonic() - begun < PATIENCE
    report.row(group, "afterwards: /health and a question", fine,
               f"{healthy[0]}, {outcome.text or outcome.error}, {server.status('VmRSS') // 1024} MB, {server.status('Threads')} threads")


SHORT = {"malformed": mutated, "fields": fields, "json": json_bodies, "pictures": pictures, "bodies": bodies, "claims": claims.claims,
         "heads": claims.heads, "elsewhere": claims.elsewhere}
LONG = {"slow": slow, "flood": flood, "full": full}
OWN = {"unread": unread, "restart": restart, "end": end, "log": claims.log, "keys": claims.keys, "damage": claims.damage,
       "descriptors": claims.descriptors}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dvlm")
    parser.add_argument("--requests", type=int, default=10_000, help="malformed ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", default=",".join([*SHORT, *LONG, *OWN]))
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    given = parser.parse_args()
    chosen = given.groups.split(",")
    if unknown := set(chosen) - {*SHORT, *LONG, *OWN}:
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    report = Report(given.json)
    # Short answers for the first ones: a mutated request may ask for the longest.
    for groups, flags in ((SHORT, ["--max-answer", "32"]), (LONG, ["--timeout", "60"])):
        names = [name for name in groups if name in chosen]
        server = None
        for name in names:
            server = server if server and server.process.poll() is None else ServerProcess(given.dvlm, *flags)
            try:
                groups[name](server, report, given)
            except (OSError, AttributeError) as error:  # as when the server died on the way
                report.row(name, "the group", False, f"broke off: {type(error).__name__}: {error}")
            recovered(server, report, name)
        if server and server.process.poll() is None:
            status = server.end()
            report.row(names[-1], "afterwards: SIGTERM", status == 0, f"exit status {status}")
            server.__exit__()
    for name in OWN:
        if name in chosen:
            OWN[name](given.dvlm, report, ["--timeout", "60"])
    failed = sum(not row["pass"] for row in report.rows)
    if given.json:
        print(json.dumps({"pass": failed == 0, "rows": report.rows}))
    else:
        print(f"{'FAIL' if failed else 'PASS'}: {len(report.rows)} rows, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
