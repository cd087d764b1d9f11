#!/usr/bin/env python3
"""Says what a build folder's program and library are made of, as SPDX 2.3: the Debian packages whose libraries they
link and whose headers are compiled into them, with versions and licences.

  packaging/sbom.py build/release > dvlm.spdx.json

Licences are those that Debian's copyright files name for any part of a package. The time is that of the last
commit (or SOURCE_DATE_EPOCH): the same build says the same.
"""

import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILT = ("apps/dvlm/dvlm", "src/api/libdvlm.so")


def out_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked(build: Path) -> set[Path]:
    """Shared libraries that the program and the library name themselves."""
    out = set()
    for file in BUILT:
        needed = set(re.findall(r"NEEDED\s+(\S+)", out_of("objdump", "-p", str(build / file))))
        out |= {
            Path(path)
            for name, path in re.findall(r"(\S+) => (/\S+)", out_of("ldd", str(build / file)))
            if name in needed
        }
    return out


def included(build: Path) -> set[Path]:
    """Headers of the system that their objects were compiled with."""
    objects = [
        file
        for file in out_of("ninja", "-C", str(build), "-t", "inputs", *BUILT).split("\n")
        if re.search(r"\.(o|gch)$", file)
    ]
    return {
        Path(path)
        for path in re.findall(r"^\s+(/usr/\S+)$", out_of("ninja", "-C", str(build), "-t", "deps", *objects), re.M)
    }


def packages_of(files: set[Path]) -> set[str]:
    resolved = {str(path) for file in files if file.exists() for path in (file, file.resolve())}
    resolved |= {
        path.removeprefix("/usr") for path in resolved if path.startswith("/usr/lib/")
    }  # before /lib was /usr/lib
    said = subprocess.run(["dpkg", "-S", *sorted(resolved)], capture_output=True, text=True).stdout
    return {line.split(": ")[0] for line in said.splitlines() if line.split(": ", 1)[1] in resolved}


def licences(package: str) -> list[str]:
    file = Path("/usr/share/doc", package.split(":")[0], "copyright")
    text = file.read_text(errors="replace") if file.exists() else ""
    return sorted(set(re.findall(r"^License:[ \t]*(\S.*?)\s*$", text, re.M)))


def described(package: str) -> dict:
    version, source = out_of("dpkg-query", "-W", "-f=${Version}\t${source:Package}", package).split("\t")
    name = package.split(":")[0]
    found = licences(package)
    return {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name),
        "name": name,
        "versionInfo": version,
        "supplier": "Organization: Debian",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "licenseComments": "Debian's copyright file names: " + (", ".join(found) if found else "its text alone"),
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?upstream={source}",
            }
        ],
    }


def main(build: Path) -> dict:
    version = re.search(r"project\(dvlm VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert version, "CMakeLists.txt names no version"
    made = int(os.environ.get("SOURCE_DATE_EPOCH") or out_of("git", "-C", str(ROOT), "log", "-1", "--format=%ct"))
    libraries, headers = packages_of(linked(build)), packages_of(included(build))
    packages = [described(package) for package in sorted(libraries | headers)]
    dvlm = {
        "SPDXID": "SPDXRef-dvlm",
        "name": "dvlm",
        "versionInfo": version[1],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "Apache-2.0",
        "copyrightText": "NOASSERTION",
    }
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-dvlm")]
    for kind, names in (("DYNAMIC_LINK", libraries), ("STATIC_LINK", headers)):
        names = {name.split(":")[0] for name in names}
        relations += [("SPDXRef-dvlm", kind, package["SPDXID"]) for package in packages if package["name"] in names]
    contents = hashlib.sha256(json.dumps([packages, relations]).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"dvlm-{version[1]}",
        "documentNamespace": f"https://dvlm.invalid/spdx/{version[1]}/{contents}",
        "creationInfo": {
            "created": datetime.datetime.fromtimestamp(made, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: packaging/sbom.py"],
        },
        "packages": [dvlm, *packages],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in relations
        ],
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
