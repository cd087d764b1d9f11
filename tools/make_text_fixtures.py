#!/usr/bin/env python3
"""Golden files of tests/text, from Hugging Face's tokenizer and template engine.

Made with Python 3.11, transformers 4.57.1, tokenizers 0.22.2:

    python tools/make_text_fixtures.py --tokenizer qwen2.5-tokenizer --template Qwen2.5-VL/chat_template.jinja

--tokenizer  a folder with the public Qwen2.5 tokenizer.json (Apache-2.0); the script adds |<MASK>| = 151665
--template   the chat template of Qwen2.5-VL, to compare ours with; skipped when absent

It writes to tests/fixtures/text:
    qwen2.5/merges.txt    the merges; the vocabulary follows from them: 256 bytes, then one token per merge
    qwen2.5/added_tokens.json   id, text and flags of the 23 added tokens
    encode_hashes.bin     per generated line a 64-bit FNV-1a of its ids; even lines parse control tokens, odd ones do not
    examples.json         full ids of some lines, and decodings of random ids
    chat.json             conversations with their rendered text and ids

The lines come from a small generator that tests/text/lines.h repeats exactly.
"""
import argparse
import json
import pathlib
import struct

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/fixtures/text"
LINES = 24000
SWEEP_LINES = 0x33400 // 64 + 8  # every code point of the planes in use, 64 a line
U64 = 2**64 - 1


class Random:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed & U64

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & U64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
        return (z ^ (z >> 31)) % n


def utf8(code):
    return b"" if 0xD800 <= code <= 0xDFFF else chr(code).encode()


def sweep_line(index):
    first = index * 64 if index < 0x33400 // 64 else 0xE0000 + (index - 0x33400 // 64) * 64
    separators = [b"", b" ", b"a", b"'"]
    return b"".join(utf8(first + i) + separators[i % 4] for i in range(64))


def piece(kind, rng, sources):
    if kind == 0:
        return rng.choice(sources["snippets"])
    if kind == 1:
        return utf8(rng.below(0x110000))
    if kind == 2:
        text = rng.choice(sources["repeated"])
        return text * (1 + rng.below(80))
    if kind == 3:
        return bytes([32 + rng.below(95)])
    if kind == 4:
        return bytes([rng.below(256) for _ in range(1 + rng.below(4))])
    if kind == 5:
        return rng.choice(sources["added_tokens"])
    if kind == 6:
        return bytes([97 + rng.below(26) for _ in range(1 + rng.below(12))])
    if kind == 7:
        return bytes([48 + rng.below(10) for _ in range(1 + rng.below(6))])
    if kind == 8:
        first, last = sources["ranges"][rng.below(len(sources["ranges"]))]
        return b"".join(utf8(first + rng.below(last - first + 1)) for _ in range(1 + rng.below(6)))
    return b" "


KINDS = 10


def line(index, sources):
    if index < SWEEP_LINES:
        return sweep_line(index)
    rng = Random(index)
    rng.choice = lambda items: items[rng.below(len(items))]
    kinds = [rng.below(KINDS) for _ in range(3)]
    return b"".join(piece(kinds[rng.below(3)], rng, sources) for _ in range(1 + rng.below(24)))


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & U64
    return value


def load_sources():
    sources = json.loads((OUT / "lines.json").read_text(encoding="utf-8"))
    for key in ("snippets", "repeated", "added_tokens"):
        sources[key] = [text.encode() for text in sources[key]]
    return sources


def load_tokenizers(folder):
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    data["added_tokens"].append(dict(id=151665, content="|<MASK>|", special=True, **flags))
    parsing = Tokenizer.from_str(json.dumps(data))
    plain = Tokenizer.from_str(json.dumps(data | {"added_tokens": []}))
    return data, parsing, plain


def write_vocabulary(data):
    merges = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]
    folder = OUT / "qwen2.5"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    (folder / "added_tokens.json").write_text(json.dumps(data["added_tokens"], indent=1) + "\n", encoding="utf-8")


def encode(tokenizer, raw):
    return tokenizer.encode(raw.decode("utf-8", errors="replace"), add_special_tokens=False).ids


def write_encodings(parsing, plain, sources):
    hashes, examples = [], []
    for index in range(LINES):
        raw = line(index, sources)
        ids = encode(plain if index % 2 else parsing, raw)
        hashes.append(fnv1a(struct.pack(f"<{len(ids)}i", *ids)))
        if index % 75 == 0 and len(raw) < 400:
            examples.append({"line": index, "bytes": raw.hex(), "ids": ids})
    (OUT / "encode_hashes.bin").write_bytes(struct.pack(f"<{LINES}Q", *hashes))
    decodings = []
    for index in range(300):
        rng = Random(10**6 + index)
        ids = [rng.below(256) if index % 3 == 0 else rng.below(151700) for _ in range(rng.below(20))]
        if index % 3 == 2:
            ids.insert(len(ids) // 2, 151643 + rng.below(24))
        skip = bool(index % 2)
        decodings.append({"ids": ids, "skip_special": skip, "text": parsing.decode(ids, skip_special_tokens=skip)})
    text = json.dumps({"encode": examples, "decode": decodings}, ensure_ascii=False, separators=(",", ":"))
    (OUT / "examples.json").write_text(text.replace('},{', '},\n{') + "\n", encoding="utf-8")


def conversations():
    """(messages, add_generation_prompt, add_vision_id)"""
    image, video = {"type": "image", "image": "a.png"}, {"type": "video", "video": "a.mp4"}
    url = {"type": "image_url", "image_url": {"url": "b.jpg"}}
    text = lambda words: {"type": "text", "text": words}
    user = lambda content: {"role": "user", "content": content}
    system = lambda content: {"role": "system", "content": content}
    reply = lambda content: {"role": "assistant", "content": content}
    bodies = [
        [user("Hello")],
        [user("")],
        [user("  leading and trailing  ")],
        [user("\nnewline first")],
        [user("newline last\n")],
        [user("\n\n\n")],
        [system("You are a robot."), user("Where is the hammer?")],
        [system(""), user("empty system")],
        [user([text("one "), text("two"), text("\n")])],
        [user([])],
        [user([image, text("Describe this image.")])],
        [user([text("Describe this image."), image])],
        [user([image, image, text("Compare.")])],
        [user([url, text("What is this?")])],
        [user([video, text("What happens?")])],
        [user([image, video, image, text("All three.")])],
        [user([image])],
        [user([image, text("a")]), reply("A cup."), user([image, text("and this?")])],
        [user("1"), reply("2"), user("3"), reply("4"), user("5")],
        [user("hi"), reply([text("list answer")]), user("go on")],
        [system([text("system as list")]), user("x")],
        [system("first"), user("y"), system("late system"), user("z")],
        [reply("assistant first"), user("then user")],
        [user([{"image": "no type.png"}, text("untyped image")])],
        [user([{"video": "no type.mp4"}, {"text": "untyped text"}])],
        [user("日本語 é e\u0301 \U0001F469\u200D\U0001F680 ﬁ")],
        [user("tabs\tand\u00a0spaces\u3000 \r\n")],
        [user("it's we'LL I'ſ 12345 + 67")],
        [user([video, video, text("two videos")]), reply("yes"), user([video])],
        [user("def f(x):\n    return x  # comment\n\n")],
        [user("<b>markup</b> {{ braces }} {% raw %}")],
        [system("s"), user([image, text("q")]), reply("a"), user([url, text("q2")]), reply("a2")],
    ]
    for i, body in enumerate(bodies):
        yield body, True, False
        yield body, i % 3 == 0, True


def write_chats(parsing, reference_path):
    ours = (ROOT / "examples/tiny/model/chat_template.jinja").read_text(encoding="utf-8")
    reference = pathlib.Path(reference_path).read_text(encoding="utf-8") if reference_path else None
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=parsing)
    chats = []
    for messages, prompt, vision_id in conversations():
        options = dict(tokenize=False, add_generation_prompt=prompt, add_vision_id=vision_id)
        text = tokenizer.apply_chat_template(messages, chat_template=ours, **options)
        if reference:
            assert text == tokenizer.apply_chat_template(messages, chat_template=reference, **options), messages
        expanded, counts = text, {}
        for name, pad, step in (("image", "<|image_pad|>", 4), ("video", "<|video_pad|>", 6)):
            counts[name] = [step * (k + 1) for k in range(text.count(pad))]
            for count in counts[name]:
                expanded = expanded.replace(pad, "<placeholder>" * count, 1)
            expanded = expanded.replace("<placeholder>", pad)
        ids = parsing.encode(expanded, add_special_tokens=False).ids
        chats.append({"messages": messages, "add_generation_prompt": prompt, "add_vision_id": vision_id, "text": text,
                      "image_tokens": counts["image"], "video_tokens": counts["video"], "ids": ids})
    prints = {"ours": f"{fnv1a(ours.removesuffix(chr(10)).encode()):016x}"}
    if reference:
        prints["qwen2.5-vl"] = f"{fnv1a(reference.removesuffix(chr(10)).encode()):016x}"
    lines = ",\n".join(json.dumps(chat, ensure_ascii=False, separators=(",", ":")) for chat in chats)
    (OUT / "chat.json").write_text(f'{{"fingerprints":{json.dumps(prints)},\n"chats":[\n{lines}\n]}}\n', encoding="utf-8")
    print(f"{len(chats)} conversations{'' if reference else ', not compared with the reference template'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--template", type=pathlib.Path)
    arguments = parser.parse_args()
    data, parsing, plain = load_tokenizers(arguments.tokenizer)
    write_vocabulary(data)
    write_encodings(parsing, plain, load_sources())
    write_chats(parsing, arguments.template)
    print(f"{LINES} lines")


if __name__ == "__main__":
    main()
