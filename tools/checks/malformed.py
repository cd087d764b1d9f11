"""Requests, pictures and connections that mean harm, for check_faults.py. Requests follow from the given generator."""

import copy
import json
import random
import socket
import struct
import threading
import zlib

from server_process import CHAT, PICTURE, connect, data_url, user

JUNK = [None, True, False, 0, -1, 1, 2**31, 2**63, -2**63, 2**64, 10**400, 1e308, -0.0, 0.5, "", "x", "\x00", "\ud800",
        "\uffff" * 10, "a" * 5000, [], [[]], {}, {"": {}}, [None] * 100, {"a": [{"b": [{}]}]}]


def small_requests() -> list[dict]:
    """Valid, and cheap to answer."""
    plain = {"messages": [user("Hello")], "max_tokens": 2, "temperature": 0.5, "seed": 1, "top_p": 0.9,
             "stop": ["zz"], "user": "someone"}
    picture = {"messages": [{"role": "system", "content": "Be short."}, user("What?", tiny_picture())],
               "max_completion_tokens": 3, "stream": True, "stream_options": {"include_usage": True},
               "dvlm": {"decoder": "fused", "block_size": 4, "branches": 2, "max_pixels": 10000}}
    frames = {"messages": [{"role": "user", "content": [{"type": "video", "video": [tiny_picture()] * 2},
                                                        {"type": "text", "text": "What?"}]}], "max_tokens": 2}
    return [plain, picture, frames]


def with_head(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers,
             f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def places(value, path=()) -> list[tuple]:
    """The path of every value inside `value`, but not of the whole."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return []
    return [found for key, inner in items for found in [(*path, key), *places(inner, (*path, key))]]


def mutated_json(rng: random.Random) -> bytes:
    """A body with one to three values replaced, dropped or moved, printed; then perhaps mutated as bytes."""
    body = copy.deepcopy(rng.choice(small_requests()))
    for _ in range(rng.randint(1, 3)):
        options = places(body)
        if not options:
            break
        *path, last = rng.choice(options)
        holder = body
        for key in path:
            holder = holder[key]
        action = rng.random()
        if action < 0.7:
            holder[last] = copy.deepcopy(rng.choice(JUNK))
        elif action < 0.85:
            del holder[last]
        elif isinstance(holder, dict):
            holder[str(last) + rng.choice(["", " ", "2", "\x00"])] = holder.pop(last)
    text = json.dumps(body).encode()
    return mutated_bytes(text, rng) if rng.random() < 0.5 else text


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:at + rng.choice([1, 2, 8, 100])]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.choice([1, 2, 8, 300]))
        elif kind == 3:
            out[at:at] = rng.choice([b"\x00", b"\r\n", b"\r\n\r\n", b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"{", b"[",
                                     b'"', b"\\", b"\\u", b"9" * 400, b"%00", b" " * 9000, b"A" * 20000])
        elif kind == 4 and out:
            begin = rng.randrange(len(out))
            out[at:at] = out[begin:begin + rng.choice([1, 10, 100])]
        elif out:
            del out[rng.randrange(len(out)):]
    return bytes(out)


def mutated_http(rng: random.Random) -> bytes:
    """A request with a wrong head: lines mutated, doubled, dropped or replaced by ones that lie."""
    body = json.dumps(rng.choice(small_requests())).encode()
    head, body = with_head(body).split(b"\r\n\r\n", 1)
    lines = head.split(b"\r\n")
    lies = [b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 5, 6", b"Content-Length: x",
            b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity, chunked",
            b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: br", b"Expect: 100-continue",
            b"Content-Type: multipart/form-data; boundary=x", b"Content-Type: multipart/form-data", b"Range: bytes=5-1,-,9-",
            b"Range: bytes=0-99999999999999999999", b"Accept: " + b"a/b;q=9," * 500, b"Connection: keep-alive, close",
            b"Upgrade: h2c", b"Authorization: Bearer " + b"\xff" * 100, b": empty", b"no colon", b" folded",
            b"X: " + b"y" * 20000, b"X-Forwarded-For: " + rng.randbytes(20)]
    starts = [b"GET %s HTTP/1.1", b"PUT %s HTTP/1.1", b"POST %s HTTP/9.9", b"POST %s", b"post %s HTTP/1.1", b"POST  %s HTTP/1.1",
              b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0", b"POST %s?a=%%zz&b=%%00 HTTP/1.1", b"POST http://other%s HTTP/1.1",
              b"POST /../../etc/passwd HTTP/1.1", b"GET /%%2e%%2e/%%00 HTTP/1.1", b"POST %s" + b"/" * 9000 + b" HTTP/1.1",
              b"CONNECT a:1 HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""]
    kind = rng.randrange(5)
    if kind == 0:
        start = rng.choice(starts)
        lines[0] = start % CHAT.encode() if b"%s" in start else start.replace(b"%%", b"%")
    elif kind == 1:
        lines.insert(rng.randint(1, len(lines)), rng.choice(lies))
    elif kind == 2:
        lines[rng.randrange(len(lines))] = rng.choice(lies)
    elif kind == 3:
        lines += [rng.choice(lies)] * rng.choice([2, 50, 400])
    end = b"\r\n\r\n" if rng.random() < 0.9 else rng.choice([b"\n\n", b"\r\n", b"\r\r", b""])
    request = b"\r\n".join(lines) + end + body
    return mutated_bytes(request, rng) if kind == 4 else request


def request(rng: random.Random) -> bytes:
    return mutated_http(rng) if rng.random() < 0.5 else with_head(mutated_json(rng))


# Pictures.

def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, content: bytes | None = None, depth: int = 8, colour: int = 0) -> bytes:
    """A grey picture; `content`: the compressed rows instead of black ones."""
    if content is None:
        packer, row = zlib.compressobj(9), bytes(1 + width)
        content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def tiny_picture() -> str:
    return data_url(png(16, 16))


def bmp(width: int, height: int, rows: bytes = b"") -> bytes:
    return (b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) +
            struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)


def jpeg_header(width: int, height: int) -> bytes:
    return (b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) +
            b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00")


def webp_header(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    inner = b"VP8L" + struct.pack("<I", 9) + b"\x2f" + struct.pack("<I", bits) + b"\x00" * 4 + b"\x00"
    return b"RIFF" + struct.pack("<I", len(inner) + 4) + b"WEBP" + inner


def pictures() -> list[tuple[str, str]]:
    """Names and the URLs that a request carries."""
    real = PICTURE.read_bytes()
    files = {"empty": b"", "no magic": b"hello" * 100, "PNG magic alone": real[:8], "PNG of two headers": real[:33] * 2,
             "PNG 0 x 0": png(0, 0, b""), "PNG 0 wide": png(0, 5, zlib.compress(b"\0" * 5)),
             "PNG 2^31-1 x 2^31-1": png(2**31 - 1, 2**31 - 1, b"x"), "PNG 2^32-1 wide": png(2**32 - 1, 1, b"x"),
             "PNG 65535 x 65535": png(65535, 65535, zlib.compress(b"\0" * 1000)),
             "PNG 16384 x 16384, no rows": png(16384, 16384, zlib.compress(b"")),
             "PNG 12000 x 12000, all black": png(12000, 12000), "PNG 1 x 20000": png(1, 20000), "PNG 20000 x 1": png(20000, 1),
             "PNG 1 x 1": png(1, 1), "PNG depth 3": png(8, 8, depth=3), "PNG colour 5": png(8, 8, colour=5),
             "PNG palette that is missing": png(8, 8, colour=3), "PNG row filters 9": png(8, 8, zlib.compress(b"\x09" * 72)),
             "PNG 100 MB of rows for 8 x 8": png(8, 8, zlib.compress(bytes(100_000_000), 9)),
             "BMP of minus 2^31": bmp(-2**31, -2**31), "BMP 30000 x 30000": bmp(30000, 30000), "BMP without rows": bmp(100, 100),
             "JPEG 65535 x 65535": jpeg_header(65535, 65535), "JPEG 0 x 0": jpeg_header(0, 0), "JPEG magic": b"\xff\xd8\xff",
             "WebP 16384 x 16384": webp_header(16384, 16384), "GIF": b"GIF89a" + struct.pack("<HH", 100, 100) + bytes(20),
             "PNM 2^31 x 1": b"P6 2147483648 1 255\n", "PNM -5 x 5": b"P6 -5 5 255\n", "PNM of letters": b"P3 2 2 255 a b c",
             "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"}
    files |= {f"PNG cut at {cut}": real[:cut] for cut in (20, 33, 60, 1000, len(real) // 2, len(real) - 5)}
    urls = [(name, data_url(content)) for name, content in files.items()]
    rng = random.Random(5)
    urls += [(f"PNG with flipped bytes {i}", data_url(bytes(b ^ (rng.random() < 0.002) for b in real))) for i in range(10)]
    urls += [("base64 garbage", "data:image/png;base64,%%%***" + "=" * 50), ("base64 cut", data_url(real)[:-3]),
             ("no comma", "data:image/png;base64"), ("no base64", "data:image/png,abc"), ("bare data:", "data:"),
             ("blank", ""), ("a file", "file:///etc/passwd"), ("a path", "/etc/passwd"), ("an address", "http://127.0.0.1:1/x.png"),
             ("10 MB of =", "data:image/png;base64," + "=" * 10_000_000)]
    return urls


# Connections.

def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Slow:
    """Connections that each send one byte per second."""

    def __init__(self, address: tuple[str, int], count: int, data: bytes, begin: int = 1):
        self.sockets, self.data, self.at, self.over = [], data, begin, threading.Event()
        for _ in range(count):
            try:
                sock = connect(address, 5)
                sock.sendall(data[:begin])
                sock.setblocking(False)
                self.sockets.append(sock)
            except OSError:
                continue
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self) -> None:
        while not self.over.wait(1.0) and self.at < len(self.data) - 1:
            for sock in self.sockets:
                try:
                    sock.send(self.data[self.at:self.at + 1])
                except OSError:
                    continue  # the server closed it
            self.at += 1

    def end(self) -> None:
        self.over.set()
        self.thread.join()
        for sock in self.sockets:
            sock.close()
