#!/usr/bin/env python3
"""Calls `dvlm serve` with OpenAI's own client and compares every answer with `dvlm run`.

  pip install openai
  tools/check_openai.py <dvlm> [folder of pictures = examples]

Prints what failed and how many calls were made; exit status 1 when something failed.
"""

import base64
import concurrent.futures
import json
import re
import subprocess
import sys
from pathlib import Path

import openai

dvlm = sys.argv[1]
pictures = sorted(Path(sys.argv[2] if len(sys.argv) > 2 else "examples").glob("*.png"))
calls = failures = 0


def check(name: str, condition: bool, detail="") -> None:
    global failures
    if not condition:
        failures += 1
        print(f"FAIL {name}: {detail}")


def run(picture: Path | None, prompt: str, **options) -> dict:
    command = [dvlm, "run", "--json", "--prompt", prompt, "--max-tokens", "80"]
    if picture:
        command += ["--image", str(picture)]
    for key, value in options.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def message(picture: Path | None, prompt: str) -> list[dict]:
    if not picture:
        return [{"role": "user", "content": prompt}]
    url = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]}]


def ask(client: openai.OpenAI, picture: Path | None, prompt: str, **options):
    global calls
    calls += 1
    options.setdefault("max_tokens", 80)
    messages = options.pop("messages", None) or message(picture, prompt)
    return client.chat.completions.create(model="dvlm-tiny", messages=messages, **options)


def streamed(client: openai.OpenAI, picture: Path | None, prompt: str, **options) -> tuple[str, str, object]:
    text, reason, usage = "", None, None
    for chunk in ask(client, picture, prompt, stream=True, stream_options={"include_usage": True}, **options):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
        usage = chunk.usage or usage
    return text, reason, usage


def refused(client: openai.OpenAI, name: str, kind: type, word: str, **options) -> None:
    try:
        ask(client, None, "Hello", **options)
    except openai.APIStatusError as error:
        check(name, isinstance(error, kind) and word in str(error), repr(error))
    else:
        check(name, False, "it was answered")


def questions(client: openai.OpenAI) -> None:
    for picture in pictures:
        for prompt in ("Describe the picture.", "How many objects are there?", "What is in the center?"):
            expected = run(picture, prompt)
            for decoder in ("ar", "spec", "fused", "auto"):
                answer = ask(client, picture, prompt, extra_body={"dvlm": {"decoder": decoder, "block_size": 16}})
                name = f"{picture.name}, {prompt} with {decoder}"
                check(name, answer.choices[0].message.content == expected["text"], answer)
                check(f"{name}: finish", answer.choices[0].finish_reason == expected["finish_reason"], answer)
                check(f"{name}: usage", answer.usage.completion_tokens == len(expected["tokens"]), answer)
            text, reason, usage = streamed(client, picture, prompt)
            check(f"{picture.name}, {prompt} streamed", text == expected["text"], text)
            check(f"{picture.name}, {prompt} usage", usage.completion_tokens == len(expected["tokens"]), usage)


def sampling(client: openai.OpenAI) -> None:
    picture = pictures[0]
    for seed in range(5):
        expected = run(picture, "Describe the picture.", temperature=1.2, top_p=0.9, seed=seed)["text"]
        answer = ask(client, picture, "Describe the picture.", temperature=1.2, top_p=0.9, seed=seed)
        check(f"seed {seed}", answer.choices[0].message.content == expected, answer)
        text, _, _ = streamed(client, picture, "Describe the picture.", temperature=1.2, top_p=0.9, seed=seed)
        check(f"seed {seed} streamed", text == expected, text)


def endings(client: openai.OpenAI) -> None:
    picture = pictures[0]
    whole = run(picture, "Describe the picture.")["text"]
    for stop in (". There", ["zzz", " wooden"], whole[:3], "never in there"):
        stops = [stop] if isinstance(stop, str) else stop
        ends = [whole.find(s) for s in stops if s in whole]
        expected = whole[: min(ends)] if ends else whole
        answer = ask(client, picture, "Describe the picture.", stop=stop)
        check(f"stop {stop!r}", answer.choices[0].message.content == expected, answer)
        text, _, _ = streamed(client, picture, "Describe the picture.", stop=stop)
        check(f"stop {stop!r} streamed", text == expected, text)
    for limit in (1, 2, 7):
        answer = ask(client, picture, "Describe the picture.", max_tokens=limit)
        check(f"max_tokens {limit}", answer.choices[0].finish_reason == "length", answer)
        check(f"max_tokens {limit}", answer.usage.completion_tokens == limit, answer)
    turns = message(picture, "Describe the picture.")
    turns += [{"role": "assistant", "content": whole}, {"role": "user", "content": "What is in the center?"}]
    first = ask(client, None, "", messages=turns).choices[0].message.content
    check("a conversation", first == ask(client, None, "", messages=turns).choices[0].message.content, first)
    for chunk in ask(client, picture, "Describe the picture.", stream=True):
        break  # the client goes away


def errors(client: openai.OpenAI) -> None:
    bad = openai.BadRequestError
    refused(client, "n", bad, '"n"', n=2)
    refused(client, "logprobs", bad, "logprobs", logprobs=True)
    refused(client, "tools", bad, "tools", tools=[{"type": "function", "function": {"name": "f"}}])
    refused(client, "format", bad, "response_format", response_format={"type": "json_object"})
    refused(client, "temperature", bad, "temperature", temperature=9)
    refused(client, "tokens", bad, "max_tokens", max_tokens=0)
    refused(client, "decoder", bad, "warp", extra_body={"dvlm": {"decoder": "warp"}})
    refused(client, "unknown", bad, "colour", extra_body={"colour": "red"})
    url = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    refused(client, "url", bad, "data URL", messages=[{"role": "user", "content": [url]}])
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    refused(client, "broken picture", bad, "", messages=[{"role": "user", "content": [broken]}])
    refused(client, "role", bad, "role", messages=[{"role": "king", "content": "Hello"}])
    try:
        client.chat.completions.create(model="other", messages=message(None, "Hello"))
        check("model", False)
    except openai.NotFoundError as error:
        check("model", "dvlm-tiny" in str(error), error)


def parallel(client: openai.OpenAI) -> None:
    expected = run(pictures[0], "Describe the picture.")["text"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client, pictures[0], "Describe the picture."), range(16)))
    check("parallel", all(a.choices[0].message.content == expected for a in answers))


def main() -> None:
    server = subprocess.Popen([dvlm, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+/v1", server.stderr.readline()).group()
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        check("models", [model.id for model in client.models.list()] == ["dvlm-tiny"])
        for part in (questions, sampling, endings, errors, parallel):
            part(client)
    finally:
        server.terminate()
    check("exit", server.wait(timeout=30) == 0, server.returncode)
    print(f"{calls} calls with openai {openai.__version__}, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
