#!/usr/bin/env python3
"""Calls `dvlm serve` with OpenAI's own client and compares every answer with `dvlm run`.

  pip install openai pydantic
  tools/checks/check_openai.py <dvlm> [folder of pictures = examples]

Prints what failed and how many calls were made; exit status 1 when something failed.
"""

import argparse
import base64
import concurrent.futures
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import openai
import pydantic

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dvlm")
parser.add_argument("pictures", nargs="?", type=Path, default=Path("examples"))
given = parser.parse_args()
dvlm, pictures = given.dvlm, sorted(given.pictures.glob("*.png"))
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


def penalties(client: openai.OpenAI) -> None:
    """The same text with every decoder, and another one than without; what is banned does not come."""
    plain = ask(client, pictures[0], "Describe the picture.").choices[0].message.content
    for options in ({"presence_penalty": 2, "temperature": 1.2, "seed": 3}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 1.4}}):
        body = options.get("extra_body", {})
        texts = {ask(client, pictures[0], "Describe the picture.", **{**options, "extra_body": {**body, "dvlm": {"decoder": decoder}}})
                 .choices[0].message.content for decoder in ("ar", "spec", "fused", "auto")}
        check(f"penalty {options}", len(texts) == 1 and plain not in texts, texts)
    [first] = ask(client, pictures[0], "Describe the picture.", max_tokens=1, logprobs=True).choices[0].logprobs.content
    ids = subprocess.run([dvlm, "tokenize", "--json", "--text", first.token], capture_output=True, text=True).stdout
    banned = ask(client, pictures[0], "Describe the picture.", logit_bias={str(json.loads(ids)["tokens"][0]): -100}).choices[0]
    check("logit_bias", banned.message.content != plain, (ids, banned))


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
    refused(client, "n", bad, '"n"', n=17)
    refused(client, "top_logprobs", bad, "top_logprobs", logprobs=True, top_logprobs=21)
    refused(client, "mdm", bad, "mdm", logprobs=True, extra_body={"dvlm": {"decoder": "mdm"}})
    refused(client, "passes", bad, "stream", extra_body={"dvlm": {"passes": True}})
    refused(client, "tools", bad, "speed", tools=[{"type": "function", "function": {"name": "f", "speed": 1}}])
    refused(client, "format", bad, "uniqueItems", response_format={"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "array", "uniqueItems": True}}})
    refused(client, "format of mdm", bad, "mdm", response_format={"type": "json_object"},
            extra_body={"dvlm": {"decoder": "mdm"}})
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


class Place(pydantic.BaseModel):
    object: Literal["hammer", "phone", "book"]
    side: Literal["left", "right"]
    row: int = pydantic.Field(ge=1, le=9)
    note: str = pydantic.Field(max_length=12)


def forms(client: openai.OpenAI) -> None:
    """Structured outputs: parsed by the client, the same with every decoder, streamed or not."""
    messages = message(pictures[0], "Where is the hammer?")
    texts = set()
    for decoder in ("ar", "spec", "fused", "auto"):
        extra = {"dvlm": {"decoder": decoder}}
        parsed = client.chat.completions.parse(model="dvlm-tiny", messages=messages, response_format=Place, extra_body=extra)
        check(f"parse, {decoder}", isinstance(parsed.choices[0].message.parsed, Place), parsed)
        check(f"parse, {decoder}: order", list(json.loads(parsed.choices[0].message.content)) == list(Place.model_fields), parsed)
        texts.add(parsed.choices[0].message.content)
    with client.chat.completions.stream(model="dvlm-tiny", messages=messages, response_format=Place) as stream:
        texts.add(stream.get_final_completion().choices[0].message.content)
    check("forms with every decoder", len(texts) == 1, texts)
    answer = ask(client, pictures[0], "What?", response_format={"type": "json_object"}, max_tokens=200, temperature=1, seed=3)
    if answer.choices[0].finish_reason == "stop":
        check("json_object", isinstance(json.loads(answer.choices[0].message.content), dict), answer)
    answer = ask(client, None, "Which?", extra_body={"structured_outputs": {"choice": ["one", "two or \"three\""]}})
    check("choice", answer.choices[0].message.content in ("one", 'two or "three"'), answer)


MOVE = {"type": "function", "function": {"name": "move_arm", "description": "Moves the arm.", "parameters": {
    "type": "object", "properties": {"target": {"enum": ["hammer", "phone"]}, "speed": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["target", "speed"]}}}
STOP = {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}}


def tools(client: openai.OpenAI) -> None:
    """Calls of tools, whole and in pieces, and what comes of them."""
    prompt = "Take the hammer."
    for choice in ("required", {"type": "function", "function": {"name": "move_arm"}}):
        extra = {"tools": [MOVE, STOP], "tool_choice": choice, "parallel_tool_calls": False, "max_tokens": 120}
        answer = ask(client, pictures[0], prompt, **extra).choices[0]
        check("tool: finish", answer.finish_reason == "tool_calls" and answer.message.content is None, answer)
        called = answer.message.tool_calls[0]
        arguments = json.loads(called.function.arguments)
        if called.function.name == "move_arm":
            check("tool: arguments", arguments["target"] in ("hammer", "phone") and 1 <= arguments["speed"] <= 9, called)
        pieces, name = "", ""
        for chunk in ask(client, pictures[0], prompt, stream=True, **extra):
            for piece in chunk.choices[0].delta.tool_calls or []:
                pieces += piece.function.arguments or ""
                name = name or piece.function.name
            reason = chunk.choices[0].finish_reason
        check("tool, streamed", (name, pieces, reason) == (called.function.name, called.function.arguments, "tool_calls"),
              (name, pieces, reason))
    turns = message(pictures[0], prompt)
    turns += [{"role": "assistant", "content": None, "tool_calls": [called.model_dump()]},
              {"role": "tool", "tool_call_id": called.id, "content": "moved"}]
    after = ask(client, None, "", messages=turns, tools=[MOVE, STOP], tool_choice="auto", max_tokens=60).choices[0]
    check("tool: after its result", after.finish_reason in ("stop", "tool_calls", "length"), after)
    none = ask(client, pictures[0], "Where is the hammer?", tools=[MOVE], tool_choice="none").choices[0]
    check("tool_choice none", none.message.content == run(pictures[0], "Where is the hammer?")["text"], none)


def choices(client: openai.OpenAI) -> None:
    picture, prompt = pictures[0], "Describe the picture."
    for seed, n in ((3, 1), (3, 4), (-2, 3)):
        expected = [ask(client, picture, prompt, temperature=1.2, seed=seed + i) for i in range(n)]
        texts = [answer.choices[0].message.content for answer in expected]
        together = ask(client, picture, prompt, temperature=1.2, seed=seed, n=n)
        check(f"n {n}", [choice.message.content for choice in together.choices] == texts, together)
        tokens = sum(answer.usage.completion_tokens for answer in expected)
        check(f"n {n} usage", together.usage.completion_tokens == tokens, together.usage)
        streamed_texts = [""] * n
        for chunk in ask(client, picture, prompt, temperature=1.2, seed=seed, n=n, stream=True):
            for choice in chunk.choices:
                streamed_texts[choice.index] += choice.delta.content or ""
        check(f"n {n} streamed", streamed_texts == texts, streamed_texts)


TEMPLATE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def complete(client: openai.OpenAI, prompt, **options):
    global calls
    calls += 1
    options.setdefault("max_tokens", 80)
    return client.completions.create(model="dvlm-tiny", prompt=prompt, **options)


def completions(client: openai.OpenAI) -> None:
    for prompt in ("Hello", "What is on the table?", "Move the hammer to the top left."):
        expected, raw = run(None, prompt), TEMPLATE.format(prompt)
        answer = complete(client, raw)
        check(f"completion {prompt}", answer.choices[0].text == expected["text"], answer)
        check(f"completion {prompt} usage", answer.usage.completion_tokens == len(expected["tokens"]), answer)
        check(f"completion {prompt} in a list", complete(client, [raw]).choices[0].text == expected["text"])
        check(f"completion {prompt} echo", complete(client, raw, echo=True).choices[0].text == raw + expected["text"])
        text = "".join(chunk.choices[0].text for chunk in complete(client, raw, stream=True))
        check(f"completion {prompt} streamed", text == expected["text"], text)
        sampled = [complete(client, raw, temperature=1.1, seed=5 + i).choices[0].text for i in range(2)]
        several = complete(client, raw, temperature=1.1, seed=5, n=2)
        check(f"completion {prompt} n", [choice.text for choice in several.choices] == sampled, several)
    for name, word, options in (
        ("suffix", "suffix", {"suffix": "end"}),
        ("best_of", "best_of", {"best_of": 3}),
        ("two prompts", "2 prompts", {"prompt": ["a", "b"]}),
        ("pads", "picture", {"prompt": "<|image_pad|>"}),
        ("no such token", "item 0", {"prompt": [10**6]}),
    ):
        try:
            complete(client, options.pop("prompt", "Hello"), **options)
            check(name, False, "it was answered")
        except openai.BadRequestError as error:
            check(name, word in str(error), error)


def probabilities(client: openai.OpenAI) -> None:
    picture, prompt = pictures[0], "Describe the picture."
    known = None
    for decoder in ("ar", "spec", "fused", "auto"):
        options = {"logprobs": True, "top_logprobs": 3, "extra_body": {"dvlm": {"decoder": decoder}}}
        choice = ask(client, picture, prompt, **options).choices[0]
        content = choice.logprobs.content
        check(f"logprobs {decoder}", "".join(token.token for token in content) == choice.message.content, content)
        check(f"logprobs {decoder}: greedy", all(t.top_logprobs[0].token == t.token for t in content), content)
        values = [token.logprob for token in content]
        known = known or values
        check(f"logprobs {decoder}: as ar", max(abs(a - b) for a, b in zip(values, known, strict=True)) < 1e-3)
        chunks = [
            token
            for chunk in ask(client, picture, prompt, stream=True, **options)
            for c in chunk.choices
            if c.logprobs
            for token in c.logprobs.content
        ]
        check(f"logprobs {decoder} streamed", [t.logprob for t in chunks] == values, chunks)
    legacy = complete(client, TEMPLATE.format("Hello"), logprobs=2).choices[0]
    check("logprobs of a completion", "".join(legacy.logprobs.tokens) == legacy.text, legacy)
    check("offsets of a completion", legacy.logprobs.text_offset[0] == 0, legacy)
    for decoder, kinds in (("ar", {"prefill", "decode"}), ("spec", {"prefill", "draft", "verify"})):
        body = {"dvlm": {"decoder": decoder, "passes": True}}
        passes = []
        for chunk in ask(client, picture, prompt, stream=True, extra_body=body):
            passes += (chunk.model_extra.get("dvlm") or {}).get("passes", [])
        check(f"passes {decoder}", {one["kind"] for one in passes} == kinds, passes)
        tokens = len(run(picture, prompt)["tokens"])
        check(f"passes {decoder}: tokens", sum(one["emitted"] for one in passes) == tokens, passes)


def parallel(client: openai.OpenAI) -> None:
    """Different requests at once: each gets what it gets alone."""
    kinds = [{"extra_body": {"dvlm": {"decoder": d}}} for d in ("ar", "spec", "fused", "auto", "mdm")]
    kinds += [{"temperature": 1.2, "seed": seed} for seed in range(4)]
    kinds += [{"stop": ". There"}, {"max_tokens": 5}, {"n": 2, "temperature": 1.2, "seed": 3}]
    asked = [(pictures[i % len(pictures)], kind) for i, kind in enumerate(kinds)]

    def texts(one):
        picture, options = one
        return [choice.message.content for choice in ask(client, picture, "Describe the picture.", **options).choices]

    expected = [texts(one) for one in asked]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(texts, asked * 2))
    for (picture, options), answer, alone in zip(asked * 2, answers, expected * 2):
        check(f"parallel {picture.name} {options}", answer == alone, answer)


def main() -> None:
    server = subprocess.Popen([dvlm, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+/v1", server.stderr.readline()).group()
        client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        check("model", client.models.retrieve("dvlm-tiny").id == "dvlm-tiny")
        check("models", [model.id for model in client.models.list()] == ["dvlm-tiny"])
        for part in (questions, sampling, penalties, endings, errors, forms, tools, choices, completions, probabilities, parallel):
            part(client)
    finally:
        server.terminate()
    check("exit", server.wait(timeout=30) == 0, server.returncode)
    print(f"{calls} calls with openai {openai.__version__}, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
