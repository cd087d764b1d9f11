#!/usr/bin/env python3
"""Refuses two types of one name at one namespace level: in one program they break the one-definition rule, in two they
mislead the reader.

  tools/lint/duplicate_types.py [FOLDER...]      default: src apps include tests bench fuzz

Reads struct, class, union and enum definitions of every .h, .hpp and .cpp file. A type of an unnamed namespace may have
namesakes in other files, but not the name of a type that dvlm:: itself has. Exit status 1 when something was found.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

IGNORED = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])*\'|^[ \t]*#(?:\\\n|[^\n])*',
                     re.DOTALL | re.MULTILINE)
# What may stand before a brace: a namespace, a definition of a type (not of a specialisation: A<int>), anything else.
NAMESPACE = re.compile(r"(?:inline\s+)?namespace(?:\s+([\w:]+))?\s*$")
TYPE = re.compile(r"(?:^|[\s>])(?:struct|class|union|enum(?:\s+(?:struct|class))?)\s+(?:alignas\([^)]*\)\s*|\[\[.*?\]\]\s*)*"
                  r"(\w+)(?:\s+final)?\s*(?::(?!:)[^;={}]*)?$", re.DOTALL)


def blank(match: re.Match) -> str:
    """Lines stay where they are."""
    return "\n" * match.group().count("\n") or " "


def types(text: str):
    """(namespace or None for an unnamed one, name, line) of each type that is defined directly in a namespace."""
    text = IGNORED.sub(blank, text)
    scopes, start = [], 0  # of each open brace: the namespace's name, "" without one, None when it is no namespace
    for match in re.finditer(r"[;{}]", text):
        before = text[start:match.start()].rstrip()
        start = match.end()
        if match.group() == "}":
            scopes = scopes[:-1]
        elif match.group() == "{":
            namespace = NAMESPACE.search(before)
            if None not in scopes and not namespace and (found := TYPE.search(before)):
                yield None if "" in scopes else "::".join(scopes), found.group(1), text.count("\n", 0, match.start()) + 1
            scopes.append((namespace.group(1) or "") if namespace else None)


def main() -> int:
    root = Path(__file__).resolve().parents[2]
    folders = sys.argv[1:] or ["src", "apps", "include", "tests", "bench", "fuzz"]
    named, unnamed = defaultdict(list), defaultdict(list)
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".hpp", ".cpp"):
                for namespace, name, line in types(path.read_text()):
                    where = f"{path.relative_to(root)}:{line}"
                    (unnamed[name] if namespace is None else named[namespace, name]).append(where)
    found = 0
    for (namespace, name), places in sorted(named.items()):
        if namespace == "dvlm":
            places = places + unnamed[name]
        if len(places) > 1:
            found += 1
            print(f"{namespace}::{name} is defined more than once: {', '.join(places)}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
