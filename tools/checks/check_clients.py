#!/usr/bin/env python3
"""Calls `dvlm serve` with the clients of OpenAI's responses and Anthropic's messages, and with LangChain and LiteLLM,
and compares every answer with `dvlm run`.

  pip install openai anthropic langchain-openai langchain-anthropic litellm pydantic
  tools/checks/check_clients.py <dvlm>

Prints what failed and how many checks were made; exit status 1 when something failed.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch one otherwise

import anthropic
import openai
import pydantic

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("dvlm")
dvlm = parser.parse_args().dvlm
DESK = Path(__file__).resolve().parents[2] / "examples" / "desk.png"
BYTES = base64.b64encode(DESK.read_bytes()).decode()
URL = "data:image/png;base64," + BYTES
QUESTION = "Describe the picture."
PARAMETERS = {
    "type": "object",
    "properties": {"target": {"enum": ["hammer", "phone"]}, "speed": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["target", "speed"],
    "additionalProperties": False,
}
checks = failures = 0


class Place(pydantic.BaseModel):
    side: Literal["left", "right"]
    distance: int = pydantic.Field(ge=1, le=9)


def check(name: str, condition: bool, detail="") -> None:
    global checks, failures
    checks += 1
    if not condition:
        failures += 1
        print(f"FAIL {name}: {detail}")


def refused(name: str, kind: type, word: str, call) -> None:
    try:
        call()
    except kind as error:
        check(name, word in str(error), repr(error))
    else:
        check(name, False, "it was answered")


def run(prompt: str, *options: str, picture: bool = True) -> dict:
    command = [dvlm, "run", "--json", "--prompt", prompt, "--max-tokens", "200", *options]
    command += ["--image", str(DESK)] if picture else []
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def right_call(name: str, arguments: dict) -> bool:
    return name == "move" and arguments["target"] in ("hammer", "phone") and 1 <= arguments["speed"] <= 9


def responses(client: openai.OpenAI) -> None:
    ask = lambda **more: client.responses.create(model="dvlm-tiny", **{"max_output_tokens": 200, **more})
    picture = [{"role": "user", "content": [{"type": "input_image", "image_url": URL, "detail": "auto"},
                                            {"type": "input_text", "text": QUESTION}]}]
    expected = run(QUESTION)
    whole = ask(input=picture)
    check("response", whole.output_text == expected["text"] and whole.status == "completed", whole)
    check("response: usage", whole.usage.output_tokens == len(expected["tokens"])
          and whole.usage.input_tokens == expected["usage"]["prompt_tokens"], whole.usage)
    for decoder in ("ar", "spec", "fused"):
        same = ask(input=picture, extra_body={"dvlm": {"decoder": decoder}})
        check(f"response with {decoder}", same.output_text == expected["text"], same)
    with client.responses.stream(model="dvlm-tiny", input=picture, max_output_tokens=200) as stream:
        events = list(stream)
        final = stream.get_final_response()
    check("response, streamed", final.output_text == expected["text"], final)
    check("response, deltas", "".join(e.delta for e in events if e.type == "response.output_text.delta") == expected["text"])
    check("response, order", [e.sequence_number for e in events] == list(range(len(events))), events)
    check("response, first and last", [events[0].type, events[-1].type] == ["response.created", "response.completed"])
    short = ask(input="Hello", max_output_tokens=3)
    check("response: incomplete", short.status == "incomplete" and short.incomplete_details.reason == "max_output_tokens"
          and short.output[-1].status == "incomplete", short)
    system = ask(input="Where is the hammer?", instructions="You are terse.")
    check("instructions", system.instructions == "You are terse."
          and system.usage.input_tokens > ask(input="Where is the hammer?").usage.input_tokens - 20, system)
    parsed = client.responses.parse(model="dvlm-tiny", input="Where is it?", text_format=Place, max_output_tokens=200)
    check("response, parsed", isinstance(parsed.output_parsed, Place), parsed)
    ordered = {"type": "object", "properties": {"z": {"enum": [1, 2]}, "a": {"type": "boolean"}}, "required": ["z", "a"]}
    form = ask(input="Where is it?", text={"format": {"type": "json_schema", "name": "f", "schema": ordered}})
    check("response: order of a schema", list(json.loads(form.output_text)) == ["z", "a"], form)
    check("response: format", form.text.format.type == "json_schema" and form.text.format.schema_ == ordered, form.text)
    check("response: JSON", ask(input="Hi", text={"format": {"type": "json_object"}}).output_text.startswith("{"))

    tool = {"type": "function", "name": "move", "description": "Moves.", "parameters": PARAMETERS, "strict": True}
    turn = [{"role": "user", "content": "Move to the hammer."}]
    called = ask(input=turn, tools=[tool], tool_choice="required", parallel_tool_calls=False)
    call = called.output[0]
    check("response: call", call.type == "function_call" and right_call(call.name, json.loads(call.arguments)), called)
    check("response: tools come back", called.tools[0].name == "move" and called.tool_choice == "required", called)
    events = list(ask(input=turn, tools=[tool], tool_choice={"type": "function", "name": "move"}, parallel_tool_calls=False, stream=True))
    pieces = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    done = [e for e in events if e.type == "response.function_call_arguments.done"]
    check("response: call, streamed", pieces == call.arguments == done[0].arguments and len(done) == 1, events)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "moved"}
    after = ask(input=turn + [call.model_dump(exclude_none=True), result], tools=[tool])
    check("response: after a call", after.status in ("completed", "incomplete"), after)
    earlier = ask(input=turn + [after.output[0].model_dump()] + turn) if after.output and after.output[0].type == "message" else None
    check("response: earlier answers come back", earlier is None or earlier.usage.input_tokens > 0, earlier)

    bad = openai.BadRequestError
    refused("response: previous", bad, "nothing is stored", lambda: ask(input="Hi", previous_response_id="resp_1"))
    refused("response: store", bad, "nothing is stored", lambda: ask(input="Hi", store=True))
    refused("response: unknown field", bad, "speed", lambda: ask(input="Hi", extra_body={"speed": 1}))
    refused("response: reasoning", bad, "reason", lambda: ask(input="Hi", reasoning={"effort": "high"}))
    refused("response: item", bad, "input[0].type", lambda: ask(input=[{"type": "item_reference", "id": "x"}]))
    refused("response: part", bad, "input[0].content[0].type", lambda: ask(input=[{"role": "user", "content": [{"type": "input_file"}]}]))
    refused("response: tool", bad, "tool 1", lambda: ask(input="Hi", tools=[{"type": "web_search"}]))
    refused("response: passes", bad, "dvlm.passes", lambda: list(ask(input="Hi", stream=True, extra_body={"dvlm": {"passes": True}})))
    refused("response: model", openai.NotFoundError, "dvlm-tiny", lambda: client.responses.create(model="gpt", input="Hi"))


def messages(client: anthropic.Anthropic) -> None:
    def ask(content="Hello", **more):
        turns = more.pop("messages", None) or [{"role": "user", "content": content}]
        return client.messages.create(model="dvlm-tiny", messages=turns, **{"max_tokens": 200, **more})

    picture = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BYTES}},
               {"type": "text", "text": QUESTION}]
    expected = run(QUESTION)
    whole = ask(picture)
    check("message", whole.content[0].text == expected["text"] and whole.stop_reason == "end_turn", whole)
    tokens = whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    check("message: usage", (tokens, whole.usage.output_tokens) == (expected["usage"]["prompt_tokens"], len(expected["tokens"])), whole.usage)
    counted = client.messages.count_tokens(model="dvlm-tiny", messages=[{"role": "user", "content": picture}])
    check("message: counted", counted.input_tokens == expected["usage"]["prompt_tokens"], counted)
    with client.messages.stream(model="dvlm-tiny", max_tokens=200, messages=[{"role": "user", "content": picture}]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check("message, streamed", text == final.content[0].text == expected["text"], final)
    check("message, streamed: end", final.stop_reason == "end_turn" and final.usage.output_tokens == len(expected["tokens"]), final)
    short = ask(max_tokens=3)
    check("message: max_tokens", short.stop_reason == "max_tokens" and short.usage.output_tokens == 3, short)
    stop = ask(picture, stop_sequences=["xyz", " hammer"])
    check("message: stop", (stop.stop_reason, stop.stop_sequence) == ("stop_sequence", " hammer")
          and stop.content[0].text == expected["text"].split(" hammer")[0], stop)
    system = ask("Where is the hammer?", system=[{"type": "text", "text": "You are terse.", "cache_control": {"type": "ephemeral"}}])
    check("message: system", system.content[0].text != "", system)
    schema = {"type": "object", "properties": {"z": {"enum": [1, 2]}, "a": {"type": "boolean"}}, "required": ["z", "a"],
              "additionalProperties": False}
    form = ask("Where is it?", extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}})
    check("message: form", list(json.loads(form.content[0].text)) == ["z", "a"], form)

    tool = {"name": "move", "description": "Moves.", "input_schema": PARAMETERS}
    turn = [{"role": "user", "content": "Move to the hammer."}]
    one = {"tools": [tool], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    called = ask(messages=turn, **one)
    use = called.content[-1]
    check("message: call", called.stop_reason == "tool_use" and use.type == "tool_use" and right_call(use.name, use.input), called)
    with client.messages.stream(model="dvlm-tiny", max_tokens=200, messages=turn, **one) as stream:
        same = stream.get_final_message()
    check("message: call, streamed", same.content[-1].input == use.input and same.stop_reason == "tool_use", same)
    turns = turn + [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in called.content]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "moved"},
                                                 {"type": "text", "text": "And now?"}]}]
    after = ask(messages=turns, tools=[tool])
    check("message: after a call", after.stop_reason in ("end_turn", "tool_use", "max_tokens"), after)
    none = ask(picture, tools=[tool], tool_choice={"type": "none"})
    check("message: no call", none.content[0].text == expected["text"], none)

    bad = anthropic.BadRequestError
    refused("message: thinking", bad, "reason", lambda: ask(thinking={"type": "enabled", "budget_tokens": 1024}))
    refused("message: document", bad, "messages[0].content[0].type",
            lambda: ask([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}]))
    refused("message: unknown field", bad, "speed", lambda: ask(extra_body={"speed": 1}))
    refused("message: role", bad, "messages[0].role", lambda: ask(messages=[{"role": "tool", "content": "x"}]))
    refused("message: tool", bad, "tool 1", lambda: ask(tools=[{"type": "bash_20250124", "name": "bash"}]))
    refused("message: model", anthropic.NotFoundError, "dvlm-tiny",
            lambda: client.messages.create(model="another", max_tokens=5, messages=turn))


def libraries(address: str) -> None:
    """The paths of LangChain and LiteLLM to servers like OpenAI's and Anthropic's."""
    import litellm
    from langchain_anthropic import ChatAnthropic
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    expected = run(QUESTION)["text"]
    asked = [HumanMessage([{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": QUESTION}])]
    root = address.removesuffix("/v1")
    models = {
        "LangChain, chat completions": ChatOpenAI(model="dvlm-tiny", base_url=address, api_key="none", max_tokens=200, temperature=0),
        "LangChain, responses": ChatOpenAI(model="dvlm-tiny", base_url=address, api_key="none", max_tokens=200, use_responses_api=True),
        "LangChain, messages": ChatAnthropic(model="dvlm-tiny", base_url=root, api_key="none", max_tokens=200),
    }
    for name, model in models.items():
        check(name, model.invoke(asked).text == expected, model.invoke(asked))
        check(f"{name}, streamed", "".join(piece.text for piece in model.stream(asked)) == expected)
        check(f"{name}, async", asyncio.run(model.ainvoke(asked)).text == expected)
        bound = model.bind_tools([{"name": "move", "description": "Moves.", "parameters": PARAMETERS}], tool_choice="any")
        calls = bound.invoke("Move to the hammer.").tool_calls
        check(f"{name}, tools", calls and right_call(calls[0]["name"], calls[0]["args"]), calls)
        if "messages" not in name:
            parsed = model.with_structured_output(Place, method="json_schema").invoke("Where is it?")
            check(f"{name}, structured output", isinstance(parsed, Place), parsed)
    turns = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": QUESTION}]}]
    for name, options in {"LiteLLM, openai": {"model": "openai/dvlm-tiny", "api_base": address},
                          "LiteLLM, anthropic": {"model": "anthropic/dvlm-tiny", "api_base": root}}.items():
        options |= {"api_key": "none", "messages": turns, "max_tokens": 200}
        check(name, litellm.completion(**options).choices[0].message.content == expected)
        pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**options, stream=True)]
        check(f"{name}, streamed", "".join(pieces) == expected, pieces)


def main() -> None:
    server = subprocess.Popen([dvlm, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+/v1", server.stderr.readline()).group()
        responses(openai.OpenAI(base_url=address, api_key="none", max_retries=0))
        messages(anthropic.Anthropic(base_url=address.removesuffix("/v1"), api_key="none", max_retries=0))
        libraries(address)
    finally:
        server.terminate()
    check("exit", server.wait(timeout=30) == 0, server.returncode)
    packages = ("openai", "anthropic", "langchain-openai", "langchain-anthropic", "litellm")
    print(f"{checks} checks with {', '.join(f'{name} {version(name)}' for name in packages)}, {failures} failures")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
