"""What the groups of check_faults.py share: a report, and requests whose answers are judged."""

import json
import re
import socket
import time

import malformed
from server_process import ServerProcess, connect

PATIENCE = 10.0  # seconds of silence that count as hanging


class Report:
    def __init__(self, quiet: bool):
        self.rows: list[dict] = []
        self.quiet = quiet

    def row(self, group: str, what: str, fine: bool, result: str) -> None:
        self.rows.append({"group": group, "what": what, "pass": bool(fine), "result": result})
        if not self.quiet:
            print(f"{'PASS' if fine else 'FAIL'}  {group:<12} {what:<52} {result}", flush=True)


def exchange(address, data: bytes, patience: float = PATIENCE, half: bool = True) -> tuple[bytes | None, float]:
    """Sends, reads until the server closes. None: silence. `half`: says after 0.3 s that no more will come, which
    ends the waiting for a body that is shorter than announced."""
    start, out, halved = time.monotonic(), b"", not half
    with connect(address, patience) as sock:
        try:
            sock.sendall(data)
            sock.settimeout(0.3)
            while time.monotonic() - start < patience:
                try:
                    piece = sock.recv(1 << 16)
                except TimeoutError:
                    if not halved:
                        sock.shutdown(socket.SHUT_WR)
                        halved = True
                    continue
                if not piece:
                    return out, time.monotonic() - start
                out += piece
        except OSError:
            return out, time.monotonic() - start
    return None, time.monotonic() - start


def judged(answer: bytes | None) -> tuple[bool, str]:
    """Whether an answer to something malformed is fine, and its kind."""
    if answer is None:
        return False, "hanging"
    answer = re.sub(rb"^HTTP/1\.[01] 100 [^\r]*\r\n\r\n", b"", answer)
    if not answer:
        return True, "closed"
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    if not found:
        return False, "not HTTP"
    status = int(found.group(1))
    if status >= 500:
        return False, str(status)
    if status < 400:
        return True, str(status)
    try:
        json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["message"]
    except (ValueError, KeyError, IndexError):
        return False, f"{status} without a sentence"
    return True, str(status)


def post(server: ServerProcess, body: bytes, *headers: str, patience: float = PATIENCE) -> tuple[str, float]:
    answer, seconds = exchange(server.address, malformed.with_head(body, *headers), patience, half=False)
    return judged(answer)[1], seconds


def expect(server: ServerProcess, report: Report, group: str, name: str, body: bytes | dict, wanted: set[str], *headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind, seconds = post(server, data, *headers, patience=60)
    if kind not in wanted or seconds > PATIENCE:
        report.row(group, name, False, f"{kind} after {seconds:.1f} s, expected {' or '.join(sorted(wanted))}")
