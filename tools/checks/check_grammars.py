#!/usr/bin/env python3
"""Compares grammars with programs that dvlm did not write.

  pip install jsonschema==4.26.0 llguidance==1.9.1 tokenizers openai
  pip download --no-deps --no-binary :all: jsonschema==4.26.0 && tar xf jsonschema-4.26.0.tar.gz
  tools/checks/check_grammars.py <dvlm> suite jsonschema-4.26.0/json     texts of the JSON-Schema-Test-Suite
  tools/checks/check_grammars.py <dvlm> masks <model folder>             tokens that may follow, beside llguidance
  tools/checks/check_grammars.py <dvlm> answers <model folder> [count]   answers to schemas made at random, checked
  tools/checks/check_grammars.py <dvlm> passes <model folder> [pictures] tokens per pass of boxes and plans, free and in their form
  tools/checks/check_grammars.py <dvlm> cost <model folder> [rounds]     time of a pass in forms that save none, against free ones
                       (a folder of tools/fixtures/make_3b_folder.py; with the Python package, as below)
  tools/checks/check_grammars.py <dvlm> lossless <model folder> [prompts]  100 such schemas: every decoder, greedy and
                       sampled, alone and together, against ar alone (with the Python package: PYTHONPATH=build/torch/python)

Prints what differs, and counts; exit status 1 when something is let through that should not be.
"""

import collections
import concurrent.futures
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def check(dvlm: str, schema, texts: list[str], *flags: str) -> list[dict] | str:
    """What dvlm says of each text, or why it refuses the schema."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(schema, file)
        file.flush()
        done = subprocess.run([dvlm, "grammar", "--json-schema", file.name, "--json", *flags], text=True,
                              capture_output=True, input="".join(json.dumps(text) + "\n" for text in texts))
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"dvlm ended with {done.returncode} for {json.dumps(schema)[:200]}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines if len(lines) == len(texts) else done.stderr.strip()


def suite(dvlm: str, folder: str) -> bool:
    files = [f for part in ("", "optional/", "optional/format/") for f in sorted(Path(folder).glob(f"tests/draft2020-12/{part}*.json"))]
    counts, wrong = collections.Counter(), []
    for file in files:
        for group in json.loads(file.read_text()):
            texts = [json.dumps(test["data"], ensure_ascii="format" in str(file)) for test in group["tests"]]
            said = check(dvlm, group["schema"], texts)
            if isinstance(said, str):
                counts["schemas refused by name"] += 1
                continue
            counts["schemas read"] += 1
            for test, text, one in zip(group["tests"], texts, said):
                counts["texts"] += 1
                if one["fits"] and not test["valid"]:
                    wrong.append((file.name, group["description"], text))
                if test["valid"]:
                    counts["valid, let through" if one["fits"] else "valid, not let through (docs/grammars.md says why)"] += 1
    for case in wrong:
        print("LET THROUGH", *case)
    print(json.dumps(counts, indent=1), f"let through and not valid: {len(wrong)}", sep="\n")
    return not wrong


# Schemas as people write them, and texts that answers have begun with.
WORDS = ["label", "bbox_2d", "count", "color", "name", "is_open", "distance", "note", "tags", "kind"]


def make_schema(rng: random.Random, depth: int = 0) -> dict:
    kinds = ["string", "integer", "number", "boolean", "enum", "pattern", "format"] + ["object", "object", "array"] * (depth < 3)
    kind = rng.choice(kinds) if depth else rng.choice(["object", "array", "object"])
    if kind == "object":
        names = rng.sample(WORDS, rng.randint(1, 4))
        out = {"type": "object", "properties": {name: make_schema(rng, depth + 1) for name in names},
               "required": [name for name in names if rng.random() < 0.7], "additionalProperties": False}
        return out
    if kind == "array":
        return {"type": "array", "items": make_schema(rng, depth + 1), "minItems": rng.randint(0, 2), "maxItems": rng.randint(2, 4)}
    if kind == "string":
        return {"type": "string", "minLength": rng.randint(0, 2), "maxLength": rng.randint(2, 12)}
    if kind == "integer":
        low = rng.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 2000)}
    if kind == "number":
        return {"type": "number", "minimum": rng.choice([0, -1.5, 0.25]), "exclusiveMaximum": rng.choice([1, 10.5, 300])}
    if kind == "boolean":
        return {"type": rng.choice(["boolean", ["boolean", "null"]])}
    if kind == "enum":
        return {"enum": rng.sample(["red", "green", "blue", "dark blue", 1, 2.5, None, True, "a \"b\"", "ü"], rng.randint(1, 4))}
    if kind == "pattern":
        out = {"type": "string", "pattern": rng.choice([r"^[a-z]{1,6}(-[0-9]{2})?$", r"^\d{1,3}\.\d$", "^(left|right) [A-Z]", "[0-9]"])}
        return out | rng.choice([{}, {"maxLength": rng.randint(7, 12)}, {"minLength": 3, "allOf": [{"pattern": "[^x]$"}]}])
    return {"type": "string", "format": rng.choice(["date", "time", "ipv4", "uuid", "email", "date-time"])}


def masks(dvlm: str, folder: str) -> bool:
    import llguidance
    from llguidance.hf import from_tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    guide = from_tokenizer(tokenizer)
    special = set(tokenizer.all_special_ids) | {t for t, a in tokenizer.added_tokens_decoder.items() if a.special}
    rng, counts, shown = random.Random(1), collections.Counter(), 0
    for _ in range(200):
        schema = make_schema(rng)
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"})
        matcher = llguidance.LLMatcher(guide, grammar)
        text = b""
        for _ in range(rng.randint(0, 25)):  # an answer begun at random
            allowed = bits(matcher.compute_bitmask(), len(tokenizer)) - special
            if not allowed:
                break
            token = rng.choice(sorted(allowed))
            matcher.consume_token(token)
            text += guide.decode_bytes([token])
        theirs = bits(matcher.compute_bitmask(), len(tokenizer)) - special
        try:
            said = check(dvlm, schema, [text.decode()], "--json-spaces", "none", "--masks", "--model", folder)
        except UnicodeDecodeError:  # it ends within a character
            continue
        if isinstance(said, str):
            counts["refused"] += 1
            continue
        ours = {64 * i + b for i in range(len(said[0]["allowed"]) // 16) for b in range(64)
                if int(said[0]["allowed"][16 * i:16 * i + 16], 16) >> b & 1}
        delete = {t for t in ours - theirs if tokenizer.decode([t]) == "\x7f"}  # JSON allows it, llguidance does not
        if matcher.compute_ff_tokens() and theirs <= ours:
            counts["one way there, which is among ours"] += 1
            continue
        counts["equal" if ours == theirs else "equal but for DEL" if ours - delete == theirs else "different"] += 1
        if ours - delete != theirs and shown < 20:
            shown += 1
            print(json.dumps(schema)[:300], repr(text)[:120], "only here", [tokenizer.decode([t]) for t in sorted(ours - theirs)[:8]],
                  "only there", [tokenizer.decode([t]) for t in sorted(theirs - ours)[:8]])
    print(json.dumps(counts))
    return True


def bits(mask: bytes, size: int) -> set[int]:
    return {i for i in range(size) if mask[i // 8] >> i % 8 & 1}


def answers(dvlm: str, folder: str, count: int) -> bool:
    import jsonschema
    import openai
    from server_process import ServerProcess

    rng = random.Random(7)
    schemas = [make_schema(rng) for _ in range(300)]
    checkers = [jsonschema.Draft202012Validator(s, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER) for s in schemas]
    counts, wrong = collections.Counter(), []
    with ServerProcess(dvlm, "--model", folder) as server:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.address[1]}/v1", api_key="none", max_retries=5)
        model = client.models.list().data[0].id

        def one(i: int) -> None:
            schema = schemas[i % len(schemas)]
            answer = client.chat.completions.create(
                model=model, max_tokens=400, temperature=[0, 1, 2][i % 3], seed=i,
                messages=[{"role": "user", "content": f"Question {i}?"}],
                extra_body={"dvlm": {"decoder": ["auto", "spec", "ar", "fused"][i % 4]}},
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
            choice = answer.choices[0]
            if choice.finish_reason != "stop":
                counts["cut by max_tokens"] += 1
                return
            try:
                checkers[i % len(schemas)].validate(json.loads(choice.message.content))
                counts["valid"] += 1
            except (ValueError, jsonschema.ValidationError) as error:
                wrong.append((json.dumps(schema), choice.message.content, str(error)[:200]))

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for done, _ in enumerate(pool.map(one, range(count)), 1):
                if done % 500 == 0:
                    print(f"{done} answers, {json.dumps(counts)}, not valid: {len(wrong)}", file=sys.stderr, flush=True)
    for case in wrong[:10]:
        print("NOT VALID", *case, sep="\n  ")
    print(json.dumps(counts), f"not valid: {len(wrong)}")
    return not wrong


def passes(dvlm: str, folder: str, count: int) -> bool:
    root = Path(__file__).parents[2]
    sums = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as scenes:
        subprocess.run([dvlm, "synth", "--out", scenes, "--split", "test", "--count", str(count)], check=True, capture_output=True)
        for picture in sorted(Path(scenes, "images").iterdir()):
            for form in ("free", "boxes", "plan"):
                flags = [] if form == "free" else ["--json-schema", str(root / f"examples/schemas/{form}.json")]
                for decoder in ("ar", "spec", "fused", "auto"):
                    said = subprocess.run(
                        [dvlm, "run", "--model", folder, "--image", str(picture), "--prompt", "Locate all objects.", "--decoder", decoder,
                         "--max-tokens", "400", "--json", *flags], check=True, capture_output=True, text=True)
                    answer = json.loads(said.stdout)
                    sums[form, decoder].update({"tokens": len(answer["tokens"]), "passes": answer["stats"]["nfe"],
                                                "forced": answer["stats"].get("forced_tokens", 0)})
    base = sums["free", "spec"]["tokens"] / sums["free", "spec"]["passes"]
    for (form, decoder), sum_ in sums.items():
        rate = sum_["tokens"] / sum_["passes"]
        print(f"{form:6} {decoder:6} {sum_['tokens']:6} tokens, {sum_['forced']:6} without a choice, {sum_['passes']:6} passes, "
              f"{rate:5.2f} a pass, {rate / base:5.2f} of free spec")
    return True


def cost(_dvlm: str, folder: str, rounds: int) -> bool:
    """Forms without a token that has no choice: passes have the rows of free ones. Free and in a form by turns."""
    import dvlm

    forms = {"free": {}, "free again": {}, "any 2000 characters": {"regex": ".{2000}"},
             "a string of JSON": {"json_schema": {"type": "string", "minLength": 1000, "maxLength": 2000}}}
    model = dvlm.Model(folder)
    for decoder, block in (("ar", 1), ("spec", 8), ("spec", 32)):
        times = collections.defaultdict(list)
        for i in range(rounds + 1):  # the first one makes whatever is kept
            for name, form in forms.items():
                options = {"block_size": block} if block > 1 else {}
                stream = model.stream(f"Question {i}?", decoder=decoder, max_tokens=400, temperature=1, seed=i, **options, **form)
                for pieces, _ in enumerate(stream):
                    if pieces == 5:  # of a model that knows nothing: rounds, far from the end, where blocks are short
                        stream.cancel()
                stats = stream.answer.stats
                if i > 0:
                    times[name].append(stats["decode_ms"] / stats["nfe"])
        for name, each in times.items():
            ratios = [one / free for one, free in zip(each, times["free"])]
            print(f"{decoder:4} block {block:2}, {name:19} {statistics.median(each):8.1f} ms a pass, {statistics.median(ratios):6.3f} of free",
                  flush=True)
    return True


def lossless(_dvlm: str, folder: str, prompts: int) -> bool:
    import dvlm

    rng = random.Random(8)
    schemas = [make_schema(rng) for _ in range(100)]
    picture = Path(__file__).parents[2] / "examples/desk.png"
    counts, wrong = collections.Counter(), []
    model, together = dvlm.Model(folder), dvlm.Model(folder)
    for number, schema in enumerate(schemas):
        for i in range(prompts):
            # Some are cut by max_tokens, some by a stop string, inside of what has no choice.
            options = {"json_schema": schema, "max_tokens": [300, 300, 7][i % 3], "temperature": i % 2, "seed": i,
                       "stop": ["e\""] if i % 5 == 4 else None, "images": [picture] if i % 4 == 3 else []}
            question = f"Question {number}, {i}?"
            expected = model.generate(question, decoder="ar", **options)
            streams = {d: together.stream(question, decoder=d, **options) for d in ("ar", "spec", "fused", "auto")}
            for decoder, stream in streams.items():
                got = stream.answer
                counts[f"{decoder}: answers"] += 1
                if (got.tokens, got.text, got.finish_reason) != (expected.tokens, expected.text, expected.finish_reason):
                    wrong.append((decoder, json.dumps(schema), expected.text, got.text))
            counts[f"ends: {expected.finish_reason}"] += 1
        if number % 10 == 9:
            print(f"{number + 1} schemas, {json.dumps(counts)}, different: {len(wrong)}", file=sys.stderr, flush=True)
    for case in wrong[:10]:
        print("DIFFERENT", *case, sep="\n  ")
    print(json.dumps(counts), f"different: {len(wrong)}")
    return not wrong


if __name__ == "__main__":
    what = {"suite": suite, "masks": masks, "answers": lambda d, f, n="10000": answers(d, f, int(n)),
            "passes": lambda d, f, n="20": passes(d, f, int(n)),
            "cost": lambda d, f, n="7": cost(d, f, int(n)),
            "lossless": lambda d, f, n="20": lossless(d, f, int(n))}
    if len(sys.argv) < 4 or sys.argv[2] not in what:
        raise SystemExit(__doc__)
    sys.exit(0 if what[sys.argv[2]](sys.argv[1], *sys.argv[3:]) else 1)
