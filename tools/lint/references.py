#!/usr/bin/env python3
"""Checks that what comments and documents cite exists.

    tools/lint/references.py [ROOT]

A citation is the path of the reference page, a comma and a heading of that page, which ends at punctuation or
the end of the line; it may continue on the next comment line. The sections of a specification, cited by
number, are refused: the repository holds no such document. Exits 1 with one sentence per fault.
"""
import pathlib
import re
import sys

FOLDERS = "src apps include tests bench fuzz tools docs".split()
PAGE = "docs/reference.md"
CITATION = re.compile(re.escape(PAGE) + r",(?=\s)")
BREAK = re.compile(r"\s*\n[ \t]*(?://+|#+|\*)?[ \t]*")  # a line break inside a comment
# "spec" is a decoder too, which a bare number may follow.
NUMBERED = re.compile(r"\bspec(?:,? section \d+| \d{1,2}\.\d{1,2}\b)|\(spec \d+\)", re.IGNORECASE)
END = r"(?=[).,;:'\"`]|$)"


def headings(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^##+ +(.+?) *$", text, flags=re.MULTILINE)


def faults_in(text, heading):
    for match in CITATION.finditer(text):
        lines = text[match.end():].split("\n")[:2]
        # What follows on this line alone, or with the next line of the comment.
        candidates = [lines[0].strip(), BREAK.sub(" ", "\n".join(lines)).strip()]
        if not any(heading.match(candidate) for candidate in candidates):
            cited = re.split(r"[).,;:]", candidates[1])[0][:60]
            yield match.start(), f"\"{cited}\" is no heading of {PAGE}"
    for match in NUMBERED.finditer(text):
        yield match.start(), f"\"{match.group()}\" cites a document that is not here; cite {PAGE}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
    names = headings(root / PAGE)
    twice = sorted({name for name in names if names.count(name) > 1})
    faults = [f"{PAGE}: the heading \"{name}\" occurs twice" for name in twice]
    longest_first = sorted(names, key=len, reverse=True)
    heading = re.compile("(?:" + "|".join(map(re.escape, longest_first)) + ")" + END)
    for file in sorted(f for folder in FOLDERS for f in (root / folder).rglob("*")):
        if not file.is_file() or {"fixtures", "__pycache__", ".venv"} & set(file.parts):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for offset, sentence in sorted(faults_in(text, heading)):
            faults.append(f"{file.relative_to(root)}:{text.count(chr(10), 0, offset) + 1}: {sentence}")
    print("\n".join(faults) if faults else f"every citation of {PAGE} names one of its {len(names)} headings")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
