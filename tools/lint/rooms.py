#!/usr/bin/env python3
"""Compares the rooms that each room lists in CMakeLists.txt with those whose headers its compiler meets: included by its
own files, or by a header of another room that these include.

  tools/lint/rooms.py

The compiler refuses a list that is too short; one that is too long lets headers in unseen, which only this script
refuses. Exit status 1 when a list is wrong.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^#include "(([\w-]+)/[^"]+)"', re.MULTILINE)


def met(file: Path, seen: set[Path]) -> set[str]:
    """Folders of src whose headers `file` meets."""
    found = set()
    for name, room in INCLUDE.findall(file.read_text()):
        header = ROOT / "src" / name
        if header.is_file() and header not in seen:
            seen.add(header)
            found |= {room} | met(header, seen)
    return found


def needed(folder: Path) -> set[str]:
    seen: set[Path] = set()
    return {room for file in [*folder.glob("*.cpp"), *folder.glob("*.h")] for room in met(file, seen)}


def main() -> int:
    listed = {}
    for name, arguments in re.findall(r"^\s*dvlm_room\((\w+)([^)]*)\)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE):
        rooms = re.search(r"\bROOMS((?:\s+[a-z_]\w*)*)", arguments)
        listed[name] = rooms.group(1).split() if rooms else []
    order, wrong = list(listed), 0
    for room, rooms in listed.items():
        right = sorted(needed(ROOT / "src" / room) - {room}, key=order.index)
        if sorted(rooms, key=order.index) != right:
            wrong += 1
            print(f"CMakeLists.txt: the room {room} lists {' '.join(rooms) or 'none'}; it needs {' '.join(right) or 'none'}",
                  file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
