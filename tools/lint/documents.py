#!/usr/bin/env python3
"""Checks that the documents fit the sources: python3 tools/lint/documents.py

  - lines have at most 110 columns, outside tables and code
  - links between documents lead to files and headings that exist
  - files, flags and names of the code in backticks exist, and so do flags in fenced commands

docs/measurements is history, whose names may be those of its day, and docs/reference.md names other projects:
of them only lines and links are checked.
Prints "file:line: what is wrong" and exits with 1 when there is something, else with 0.
"""
import os
import pathlib
import re
import subprocess
import sys
from fnmatch import fnmatch

WIDTH = 110
ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = set("src tests tools docs apps web bench examples cmake packaging fuzz models include".split())

# What begins with one of these is a command of another program: its flags are not ours.
FOREIGN_PROGRAMS = {"cmake", "podman", "systemd-analyze"}

# Names of other projects in backticks, and made-up ones, which the sources need not hold.
FOREIGN_NAMES = {
    "Qwen2VLImageProcessor",  # transformers
    "IPAddressDeny", "IPAddressAllow", "LoadCredential", "MemoryMax",  # systemd
    "http_429",  # nginx
}
FOREIGN_FILES = {"bench/peers/.venv/bin/python"}  # made by bench/peers/setup.sh

# This file is no source, or its own lists would count as found.
NOT_SOURCES = ("docs/", "tests/fixtures/", "models/", "tools/lint/documents.py")
SOURCE = re.compile(r"\.(cpp|h|hpp|py|sh|js|css|html|cmake|txt|json|yaml|service|conf)$|^dev$|Containerfile$")
FLAGS_FROM = ("src/", "apps/", "tools/", "bench/", "dev")
SPAN = re.compile(r"`((?:[^`\n]|\n(?!\s*\n))+)`")  # may go on in the next line, not in the next paragraph


def listed_by_git():
    """Files that git knows, new ones that it does not ignore included; None where git does not answer."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None


def walked():
    """Files below the folder, without what .gitignore names: for sources that came without their history."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    anchored, names = [line.strip("/") for line in lines if line[0] == "/"], [line.strip("/") for line in lines if line[0] != "/"]

    def kept(path):
        return not any(fnmatch(path, pattern) for pattern in anchored + [".git"]) \
            and not any(fnmatch(pathlib.Path(path).name, pattern) for pattern in names)

    for folder, folders, files in os.walk(ROOT):
        inside = pathlib.Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if kept((inside / name).as_posix())]
        yield from filter(kept, ((inside / name).as_posix() for name in files))


def files_of_repository():
    names = listed_by_git()
    if names is None:
        print("git lists no files here: every file below the folder is taken", file=sys.stderr)
        names = walked()
    return sorted({name for name in names if (ROOT / name).is_file()})


class Sources:
    """What the sources hold: files, flags, words."""

    def __init__(self, files):
        self.paths = set(files) | {str(parent) for name in files for parent in pathlib.PurePath(name).parents}
        self.flags, self.words_of_files = set(), []
        for name in files:
            if not SOURCE.search(name) or name.startswith(NOT_SOURCES):
                continue
            text = (ROOT / name).read_text(errors="replace")
            self.words_of_files.append(set(re.findall(r"\w+", text + pathlib.PurePath(name).stem)))
            if name.startswith(FLAGS_FROM):
                self.flags.update(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))

    def has_path(self, path):
        """A path from the root, or the end of one: model.h stands for src/model/model.h."""
        path = path.rstrip("/")
        if "*" in path:
            return any(pathlib.PurePath(name).match(path) for name in self.paths)
        return path in self.paths or any(name.endswith("/" + path) for name in self.paths)

    def has_name(self, name):
        """All parts of A::b within one file."""
        return any(words.issuperset(name.split("::")) for words in self.words_of_files)


def split_code(text):
    """The text with its fenced lines emptied, and those lines by number."""
    lines, code, fenced = text.split("\n"), {}, False
    for i, line in enumerate(lines):
        fence = line.lstrip().startswith("```")
        if fenced or fence:
            code[i + 1], lines[i] = line, ""
        fenced ^= fence
    return "\n".join(lines), code


def anchors(path):
    """What a link may name after # in a document, as GitHub makes it from headings."""
    headings = re.findall(r"^#+ (.*)", split_code(path.read_text())[0], re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def link_problem(name, link):
    target, _, anchor = link.partition("#")
    path = (ROOT / name).parent / target if target else ROOT / name
    if ":" not in target and not path.exists():
        return f"the link {link} leads to no file"
    if ":" not in target and anchor and anchor not in anchors(path):
        return f"the link {link} leads to no heading"
    return None


def code_problems(span, sources):
    """What is wrong with a piece of code: a span in backticks or a command."""
    words = span.split()
    if not words or words[0] in FOREIGN_PROGRAMS:
        return
    for word in words:
        word = word.strip("\"'(),.;:")
        is_path = "/" in word and word.split("/")[0] in FOLDERS and re.fullmatch(r"[\w./*+-]+", word)
        is_source = re.fullmatch(r"[\w/-]+\.(cpp|h|hpp|py|sh|js)", word)
        if (is_path or is_source) and word not in FOREIGN_FILES and not sources.has_path(word):
            yield f"there is no file {word}"
        flag = re.match(r"--[a-z][\w-]*", word)
        if flag and flag.group() not in sources.flags:
            yield f"no program of this repository has the flag {flag.group()}"
    name = re.fullmatch(r"((?:\w+::)*\w+)(\(.*\))?", span, re.S)
    if not name or name.group(1) in FOREIGN_NAMES:
        return
    word = name.group(1)
    camel = re.fullmatch(r"[A-Z]\w*[a-z]\w*", word)
    snake = re.fullmatch(r"[a-z]\w*_\w+", word)
    if camel or snake or "::" in word or name.group(2):
        # Metrics are named without their prefix in the sources.
        if not sources.has_name(word) and not sources.has_name(word.removeprefix("dvlm_")):
            yield f"the sources have no name {word}"


def check(name, sources):
    prose, code = split_code((ROOT / name).read_text())
    problems = [(number, f"{len(line)} columns; {WIDTH} is the most outside tables and code")
                for number, line in enumerate(prose.split("\n"), 1) if len(line) > WIDTH and line[0] != "|"]

    def add(match, found):
        problems.extend((prose.count("\n", 0, match.start()) + 1, problem) for problem in found if problem)

    for link in re.finditer(r"\]\(([^)\s]+)\)", prose):
        add(link, [link_problem(name, link.group(1))])
    if not name.startswith(("docs/measurements/", "docs/reference.md")):
        for span in SPAN.finditer(prose):
            add(span, code_problems(span.group(1), sources))
        for number, line in code.items():
            if line.startswith(("dvlm ", "./dev ", "tools/", "bench/")):
                problems += [(number, problem) for problem in code_problems(line.split(" #")[0], sources)]
    for number, problem in sorted(problems):
        print(f"{name}:{number}: {problem}")
    return not problems


if __name__ == "__main__":
    names = files_of_repository()
    every = Sources(names)
    sys.exit(0 if all([check(name, every) for name in names if name.endswith(".md")]) else 1)
