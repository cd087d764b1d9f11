#!/usr/bin/env python3
"""Tells the pictures of `dvlm synth` in words: the same conversations, with a text in place of each picture.

  tools/text_only.py examples/tiny/convert.json FOLDER [--data VALUE]

Reads the data of a training configuration (--data: another value of that key), writes one file of text-only conversations
for each of its files into FOLDER, and prints the value of `data` that names them, weights and limits kept. The text says
all that the questions ask about: the table, each object with its place and box, each word and number of a chart or a
document. So the answers follow from the text, as they followed from the picture (docs/training.md, Ablations).
"""

import argparse
import json
import sys
from pathlib import Path


def told_scene(scene):
    lines = [f"{scene['background']}, {scene['width']} x {scene['height']}"]
    for thing in scene["objects"]:
        says = f" {thing['text']}" if "text" in thing else ""
        lines.append(f"{thing['name']}{says}, {thing['place']}, {thing['bbox_2d']}")
    return lines


def told_paper(paper):
    entries = [f"{entry['name']}: {entry['text'] if 'text' in entry else entry['value']}" for entry in paper["entries"]]
    return [paper["kind"], paper["title"], *entries]


def told(record):
    """What a picture shows, a line for each thing."""
    if "scene" in record:
        return "\n".join(told_scene(record["scene"])) + "\n"
    if "paper" in record:
        return "\n".join(told_paper(record["paper"])) + "\n"
    raise ValueError("it has neither \"scene\" nor \"paper\": only pictures of dvlm synth can be told in words")


def text_only(record):
    """The conversation without its picture, and without the regions that lie in it."""
    words = {"type": "text", "text": told(record)}
    messages = []
    for message in record["messages"]:
        content = message["content"]
        if isinstance(content, list):
            content = [words if part["type"] == "image" else part for part in content]
        messages.append({"role": message["role"], "content": content})
    return {"id": record["id"], "messages": messages}


def convert(source, target):
    with open(source, encoding="utf-8") as read, open(target, "w", encoding="utf-8") as written:
        for number, line in enumerate(read, 1):
            try:
                written.write(json.dumps(text_only(json.loads(line)), ensure_ascii=False) + "\n")
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{source}, line {number}: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", help="a path, or JSON as the configuration would have it")
    options = parser.parse_args()
    try:
        sources = json.loads(options.config.read_text(encoding="utf-8"))["data"]
        if options.data:
            sources = json.loads(options.data) if options.data[0] in "[{\"" else options.data
        sources = [{"path": s} if isinstance(s, str) else s for s in (sources if isinstance(sources, list) else [sources])]
        options.folder.mkdir(parents=True, exist_ok=True)
        for number, source in enumerate(sources):
            target = options.folder / f"{number}.jsonl"
            convert(source["path"], target)
            sources[number] = {"path": str(target)} | {k: source[k] for k in ("weight", "limit") if k in source}
    except (KeyError, OSError, ValueError) as error:
        print(f"tools/text_only.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(sources))
    return 0


if __name__ == "__main__":
    sys.exit(main())
