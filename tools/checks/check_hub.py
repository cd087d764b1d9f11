#!/usr/bin/env python3
"""Whether `dvlm pull` and Hugging Face's own client share one cache, both ways, with a server on loopback as the hub.

  pip install huggingface_hub
  tools/checks/check_hub.py <dvlm> [folder of a model = models/dvlm-tiny]

Prints what failed; exit status 1 when something did.
"""

import argparse
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dvlm", type=Path)
parser.add_argument("model", nargs="?", type=Path, default=Path("models/dvlm-tiny"))
given = parser.parse_args()
dvlm, model = given.dvlm.resolve(), given.model
COMMIT, NAME = "0123456789abcdef" * 2 + "01234567", "someone/tiny"
FILES = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
failures = 0


def check(name: str, condition: bool, detail="") -> None:
    global failures
    if not condition:
        failures += 1
        print(f"FAIL {name}: {detail}")


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


class Hub(http.server.BaseHTTPRequestHandler):
    asked = 0

    def log_message(self, *_):
        pass

    def send(self, content: bytes, headers: dict, status=200) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": len(content)} | headers).items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [{"type": "file", "path": name, "oid": blob(content), "size": len(content)}
                    | ({"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
                       if is_large(name) else {}) for name, content in FILES.items()]
            return self.send(json.dumps(tree).encode(), {"Content-Type": "application/json"})
        if path.startswith(f"/api/models/{NAME}"):
            siblings = [{"rfilename": name, "size": len(content), "blobId": blob(content)}
                        | ({"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
                           if is_large(name) else {}) for name, content in FILES.items()]
            return self.send(json.dumps({"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": siblings, "private": False,
                                         "tags": [], "downloads": 0}).encode(), {"Content-Type": "application/json"})
        name = path.rsplit("/", 1)[-1]
        if not path.startswith(f"/{NAME}/resolve/") or name not in FILES:
            return self.send(b"", {"X-Error-Code": "EntryNotFound"}, 404)
        Hub.asked += self.command == "GET"
        content, start = FILES[name], 0
        etag = hashlib.sha256(content).hexdigest() if is_large(name) else blob(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            start = int(wanted.split("=")[1].split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send(content[start:], headers, 206 if start else 200)


def main() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    question = ["run", "--model", NAME, "--prompt", "Hello", "--json", "-n", "8"]
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        os.environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": ours}
        import huggingface_hub  # reads the environment

        def run(*command: str, home: str) -> subprocess.CompletedProcess:
            return subprocess.run([dvlm, *command], capture_output=True, text=True, env=os.environ | {"HF_HOME": home})

        unknown = run(*question, home=ours)
        check("a model that was never pulled", unknown.returncode != 0 and f"dvlm pull {NAME}" in unknown.stderr, unknown)
        pulled = run("pull", NAME, home=ours)
        check("pull", pulled.returncode == 0, pulled)
        found = huggingface_hub.snapshot_download(NAME, cache_dir=f"{ours}/hub", local_files_only=True)
        check("their client finds what was pulled", Path(found) == Path(pulled.stdout.strip()), (found, pulled.stdout))
        asked = Hub.asked
        huggingface_hub.snapshot_download(NAME, cache_dir=f"{ours}/hub", endpoint=endpoint)
        check("their client downloads nothing again", Hub.asked == asked, Hub.asked - asked)
        answer = run(*question, home=ours)
        plain = run("run", "--model", str(model), *question[3:], home=ours)
        same = answer.returncode == 0 and json.loads(answer.stdout)["tokens"] == json.loads(plain.stdout)["tokens"]
        check("an answer by name", same, answer)
        huggingface_hub.snapshot_download(NAME, cache_dir=f"{theirs}/hub", endpoint=endpoint)
        check("what their client downloaded has its name here", run(*question, home=theirs).returncode == 0)
        asked = Hub.asked
        again = run("pull", NAME, "--json", home=theirs)
        check("pull downloads nothing again", again.returncode == 0 and Hub.asked == asked, again)
    print(f"huggingface_hub {huggingface_hub.__version__}, {len(FILES)} files, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
