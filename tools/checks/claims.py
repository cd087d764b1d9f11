"""Groups of check_faults.py: small inputs that claim to be large, heads that lead into odd corners of HTTP, pages of
other origins, logs that nobody reads, damaged files and keys."""

import json
import os
import socket
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import malformed
from fault_report import Report, exchange, judged, post
from server_process import CHAT, EXPECTED, QUESTION, PICTURE, ServerProcess, ask, data_url, get, in_threads, question, user

MOST_MB = 96  # memory that a request may cost whose picture is refused


def png_that_claims(kind: bytes) -> bytes:
    """A chunk that says it has 2^31 - 1 bytes, in a file of 81."""
    def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
        return struct.pack(">I", len(content) if length is None else length) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
            chunk(kind, b"a\0" + b"x" * 10, 2**31 - 1) + chunk(b"IDAT", zlib.compress(bytes(8 * 25))))


def claims(server: ServerProcess, report: Report, given) -> None:
    small = data_url(malformed.png(16, 16))
    bodies = {f"a PNG whose {kind.decode()} says 2^31 - 1 bytes": {"messages": [user("x", data_url(png_that_claims(kind)))]}
              for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"PLTE")}
    for power in (26, 28, 34, 40):
        bodies[f"min_pixels 2^{power} of 16 x 16"] = {"messages": [user("x", small)], "dvlm": {"min_pixels": 2**power, "max_pixels": 2**40}}
    bodies["resized to 2^20 x 2^20"] = {"messages": [{"role": "user", "content": [
        {"type": "image", "image": small, "resized_height": 2**20, "resized_width": 2**20}, {"type": "text", "text": "x"}]}]}
    bodies["64 frames of 2^24 pixels"] = {"messages": [{"role": "user", "content": [
        {"type": "video", "video": [small] * 64, "min_pixels": 2**24, "max_pixels": 2**24}, {"type": "text", "text": "x"}]}]}
    for name, body in bodies.items():
        before = server.reset_peak()
        kind, seconds = post(server, json.dumps(body | {"max_tokens": 2}).encode())
        grown = (server.status("VmHWM") - before) // 1024
        report.row("claims", name, kind in ("200", "400") and grown < MOST_MB and seconds < 3,
                   f"{kind} after {seconds:.1f} s, memory + {grown} MB (fails from {MOST_MB})")


def heads(server: ServerProcess, report: Report, given) -> None:
    body = json.dumps(question()).encode()
    plain = malformed.with_head(body)
    chunked = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n".encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    parts = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + b"x" * 200_000 + b"\r\n--b--\r\n"
    form = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(parts)}\r\n\r\n"
    ranges = b"Range: bytes=" + b"0-1," * 5000 + b"\r\n\r\n"
    cases = {"multipart": (form.encode() + parts, {"415"}), "Range of 5,000 parts": (plain.replace(b"\r\n\r\n", b"\r\n" + ranges, 1), {"200"}),
             "chunks beside a length": (chunked + b"Content-Length: 5\r\n\r\n" + chunks, {"400"}),
             "a folded header": (plain.replace(b"Host: localhost\r\n", b"Host: localhost\r\nX: a\r\n b\r\n", 1), {"400"}),
             "a zero byte in a header": (plain.replace(b"Host: localhost\r\n", b"Host: localhost\r\nX: a\0b\r\n", 1), {"400"}),
             "too large, Expect: 100-continue": (malformed.with_head(b"", "Expect: 100-continue", length=10**9), {"413"}),
             "trailers": (chunked + b"\r\n" + chunks[:-2] + b"X: y\r\n\r\n", {"200"})}
    for name, (request, wanted) in cases.items():
        answer, seconds = exchange(server.address, request, half=False)
        kind = judged(answer)[1]
        report.row("heads", name, kind in wanted and seconds < 3, f"{kind} after {seconds:.1f} s")


def elsewhere(server: ServerProcess, report: Report, given) -> None:
    def kind(path: str, *lines: str) -> str:
        head = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "Connection: close"]) + "\r\n\r\n"
        return judged(exchange(server.address, head.encode(), half=False)[0])[1]

    port = server.address[1]
    cases = {"Host: rebound.example": (("Host: rebound.example",), "403"), "Host: 127.0.0.1": ((f"Host: 127.0.0.1:{port}",), "200"),
             "Host: localhost": (("Host: localhost",), "200"), "two Hosts": (("Host: localhost", "Host: rebound.example"), "400"),
             "Origin: http://page.example": (("Host: localhost", "Origin: http://page.example"), "403"),
             "Origin: null": (("Host: localhost", "Origin: null"), "403"),
             "the server's own Origin": ((f"Host: localhost:{port}", f"Origin: http://localhost:{port}"), "200")}
    for name, (lines, wanted) in cases.items():
        got = kind("/v1/models", *lines)
        report.row("elsewhere", name, got == wanted, got)


def start(dvlm: str, *flags: str, **how) -> tuple[subprocess.Popen, tuple[str, int]]:
    """A server whose streams nobody reads; the port is one that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([dvlm, "serve", "--port", str(port), *flags], **how)
    end = time.monotonic() + 60
    while get(("127.0.0.1", port), "/health")[0] != 200 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return process, ("127.0.0.1", port)


def ended(process: subprocess.Popen) -> tuple[int | None, float]:
    begun = time.monotonic()
    process.terminate()
    try:
        return process.wait(20), time.monotonic() - begun
    except subprocess.TimeoutExpired:
        process.kill()
        return None, time.monotonic() - begun


def log(dvlm: str, report: Report, flags: list[str]) -> None:
    unread, write = os.pipe()
    process, address = start(dvlm, *flags, "--log", "requests", stderr=write)
    os.close(write)
    answers: list[int] = []
    in_threads(8, lambda _: answers.extend(get(address, "/v1/models")[0] for _ in range(250)), 60)
    right = ask(address, question()).text == EXPECTED
    status, seconds = ended(process)
    os.close(unread)
    report.row("log", "2,000 requests, a log that nobody reads", answers.count(200) == 2000 and right, f"{answers.count(200)} answered")
    report.row("log", "SIGTERM then", status == 0 and seconds < 15, f"exit status {status} after {seconds:.1f} s")


def keys(dvlm: str, report: Report, flags: list[str]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(b"\xef\xbb\xbffirst\r\n\t\n  second  \n# not a key\n\n")
        with ServerProcess(dvlm, *flags, "--api-key-file", file.name) as server:
            got = {}
            for key in ("first", "second", "", "\t", "\ufefffirst", "# not a key"):
                line = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
                got[key] = judged(exchange(server.address, line.encode(), half=False)[0])[1]
            right = [key for key, kind in got.items() if kind == "200"] == ["first", "second"]
            report.row("keys", "a mark, tabs and blanks in the file", right, str(got))
        for content, line in ((b"good\na b\n", 2), (b"k\xc3\xa9y\n", 1), (b"\t\n", 0)):
            Path(file.name).write_bytes(content)
            run = subprocess.run([dvlm, "serve", "--port", "0", "--api-key-file", file.name], capture_output=True, text=True, timeout=60)
            named = file.name in run.stderr and (line == 0 or f"line {line}" in run.stderr)
            report.row("keys", f"{content!r}", run.returncode == 1 and named, run.stderr.strip()[-100:])


def damage(dvlm: str, report: Report, flags: list[str]) -> None:
    """Bits of the packed weights, flipped one by one: the answer stays right, and the damage is told."""
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "packed"
        command = [dvlm, "run", "--image", str(PICTURE), "--prompt", QUESTION, "--packed", str(packed)]
        subprocess.run(command, capture_output=True, check=True)
        whole = packed.read_bytes()
        counts = {"right": 0, "told": 0}
        for i in range(20):
            at = len(whole) * (2 * i + 1) // 40
            while not any(whole[at - 64:at + 64]):  # the space between two matrices
                at += 4096
            packed.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
            run = subprocess.run(command, capture_output=True, text=True)
            counts["right"] += run.returncode == 0 and run.stdout.strip() == EXPECTED
            counts["told"] += "packed" in run.stderr or packed.read_bytes() == whole
        report.row("damage", "20 flipped bits of packed weights", counts == {"right": 20, "told": 20}, str(counts))


def descriptors(dvlm: str, report: Report, flags: list[str]) -> None:
    """Standard streams that are closed: no file takes their numbers."""
    def close_streams() -> None:
        for i in (0, 1, 2):
            os.close(i)

    process, address = start(dvlm, *flags, preexec_fn=close_streams)
    right = ask(address, question()).text == EXPECTED
    open_ones = {int(name) for name in os.listdir(f"/proc/{process.pid}/fd")}
    targets = {os.readlink(f"/proc/{process.pid}/fd/{i}") for i in (0, 1, 2) if i in open_ones}
    status, seconds = ended(process)
    report.row("descriptors", "standard streams closed", right and targets == {"/dev/null"} and status == 0,
               f"{targets}, exit status {status} after {seconds:.1f} s")
