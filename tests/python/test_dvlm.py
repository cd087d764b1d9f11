"""The Python package as its users meet it, against what the program prints. DVLM_PROGRAM names the program."""

import asyncio
import gc
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import dvlm
import numpy
import PIL.Image
import pytest

ROOT = Path(__file__).parents[2]
DESK = ROOT / "examples/desk.png"
QUESTION = "Describe the picture."
LONG = {"regex": "[a-z ]{9000}", "max_tokens": 900, "decoder": "ar"}


@pytest.fixture(scope="module")
def model():
    with dvlm.Model() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def desk(model):
    return model.generate(QUESTION, images=[DESK])


def of_program(*arguments):
    program = os.environ["DVLM_PROGRAM"]
    return json.loads(subprocess.run([program, "run", "--json", *arguments], capture_output=True, check=True).stdout)


@pytest.mark.parametrize("decoder", ["auto", "ar", "spec", "fused", "mdm"])
def test_answers_are_those_of_the_program(model, decoder):
    printed = of_program("--image", str(DESK), "--prompt", QUESTION, "--decoder", decoder)
    answer = model.generate(QUESTION, images=[DESK], decoder=decoder)
    assert (answer.text, answer.tokens) == (printed["text"], printed["tokens"])
    assert answer.usage == printed["usage"] and answer.images == printed["images"]
    assert answer.finish_reason == "stop" and str(answer) == answer.text


def test_streams_are_pieces_of_the_answer(model, desk):
    pieces = list(model.stream(QUESTION, images=[DESK]))
    assert len(pieces) > 1 and "".join(pieces) == desk.text
    stream = model.stream(QUESTION, images=[DESK])
    first = next(stream)
    assert stream.answer.text == desk.text and desk.text.startswith(first)
    assert list(stream) == []


def test_pictures_of_every_kind_are_the_same_picture(model, desk):
    image = PIL.Image.open(DESK).convert("RGB")
    pixels = numpy.asarray(image)
    wide = numpy.zeros((image.height, image.width + 9, 3), numpy.uint8)
    wide[:, :-9] = pixels
    backwards = numpy.ascontiguousarray(pixels[::-1])[::-1]
    alpha = numpy.dstack([pixels, numpy.full(pixels.shape[:2], 255, numpy.uint8)])
    bgr = numpy.ascontiguousarray(pixels[:, :, ::-1])
    frame = dvlm.Frame(bgr, image.width, image.height, "bgr")
    padded = dvlm.Frame(wide.tobytes(), image.width, image.height, "rgb", stride=3 * (image.width + 9))
    for picture in [
        str(DESK),
        DESK.read_bytes(),
        memoryview(DESK.read_bytes()),
        numpy.frombuffer(DESK.read_bytes(), numpy.uint8),
        image,
        image.convert("RGBA"),
        pixels,
        wide[:, :-9],
        backwards,
        alpha,
        pixels[:, :, [2, 1, 0]][:, :, ::-1],
        frame,
        padded,
    ]:
        assert model.generate(QUESTION, images=[picture]).tokens == desk.tokens, type(picture)
    assert (
        model.generate(
            [{"role": "user", "content": [{"type": "image", "image": pixels}, {"type": "text", "text": QUESTION}]}]
        ).tokens
        == desk.tokens
    )
    gray = numpy.asarray(image.convert("L"))
    expected = model.generate(QUESTION, images=[image.convert("L")]).tokens
    assert model.generate(QUESTION, images=[gray]).tokens == expected
    assert model.generate(QUESTION, images=[gray[:, :, None]]).tokens == expected


def test_tensors_are_pictures(model, desk):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(numpy.asarray(PIL.Image.open(DESK).convert("RGB")))
    assert model.generate(QUESTION, images=[tensor]).tokens == desk.tokens


def test_pictures_that_are_none(model):
    for picture, error in [
        (3, TypeError),
        (numpy.zeros((4, 4, 3)), ValueError),
        (numpy.zeros((4, 4, 2), numpy.uint8), ValueError),
        (numpy.zeros((0, 4, 3), numpy.uint8), ValueError),
        (b"GIF", dvlm.Error),
        ("/no/file.png", dvlm.Error),
        (dvlm.Frame(b"12345", 2, 1), ValueError),
        (dvlm.Frame(b"123456", 2, 1, "yuv"), ValueError),
        (dvlm.Frame(bytes(5), 2, 2, "nv12"), ValueError),
        (dvlm.Frame(bytes(6), -2, -1), ValueError),
    ]:
        with pytest.raises(error):
            model.generate(QUESTION, images=[picture])
    for one in [DESK, str(DESK), numpy.zeros((4, 4), numpy.uint8)]:
        with pytest.raises(TypeError, match="list"):
            model.generate(QUESTION, images=one)
    with pytest.raises(dvlm.Error, match="no/file"):
        model.stream(QUESTION, images=["/no/file.png"])
    with pytest.raises(ValueError):
        model.generate([{"role": "system", "content": "hi"}], images=[DESK])


def test_errors_are_sentences(model):
    with pytest.raises(dvlm.Error, match="no model folder"):
        dvlm.Model("/no/such/folder")
    with pytest.raises(dvlm.Error, match="abacus"):
        dvlm.Model(device="abacus")
    with pytest.raises(dvlm.Error, match='"speed" is not known'):
        model.generate("hi", speed=9)
    with pytest.raises(dvlm.Error, match="fast"):
        model.generate("hi", decoder="fast")
    with pytest.raises(dvlm.Error, match="uniqueItems"):
        model.generate("hi", json_schema={"type": "array", "uniqueItems": True})
    with pytest.raises(dvlm.Error, match="closed"):
        closed = dvlm.Model()
        closed.close()
        closed.generate("hi")


def test_answers_follow_schemas(model):
    schema = {"type": "object", "properties": {"z": {"enum": [1, 2]}, "a": {"type": "boolean"}}, "required": ["z", "a"]}
    answer = model.generate("Where is it?", json_schema=schema, json_spaces="none")
    assert list(answer.json()) == ["z", "a"] and answer.stats["forced_tokens"] > 5
    assert model.generate("Where?", regex="abc and def", stop=" and").text == "abc"


def test_passes_are_shown(model):
    answer = model.generate(QUESTION, images=[DESK], decoder="spec", passes=True)
    assert sum(one.emitted for one in answer.passes) == len(answer.tokens)
    assert {one.kind for one in answer.passes} == {"prefill", "draft", "verify"}
    assert all(len(one.block) > 1 for one in answer.passes if one.kind == "draft")
    masked = model.generate(QUESTION, images=[DESK], decoder="mdm", passes=True).passes
    assert any(None in one.block for one in masked if one.kind == "denoise")


def test_progress_is_told(model):
    heard = []
    with dvlm.Model() as fresh:
        fresh.generate(QUESTION, images=[DESK], on_progress=lambda *work: heard.append(work))
    assert heard and all(0 <= done <= total for _, done, total in heard)
    with pytest.raises(ZeroDivisionError):
        with dvlm.Model() as fresh:
            fresh.generate(QUESTION, images=[DESK], on_progress=lambda *_: 1 / 0)


def test_cancelling_ends_an_answer(model):
    stream = model.stream("hi", **LONG)
    next(stream)
    stream.cancel()
    assert stream.answer.finish_reason == "cancelled" and len(stream.answer.tokens) < 900
    with model.stream("hi", **LONG) as left:
        pass
    assert left.answer.finish_reason == "cancelled"


def test_dropped_streams_do_no_work(model):
    alone = time.monotonic()
    model.generate("hi", **{**LONG, "max_tokens": 300})
    alone = time.monotonic() - alone
    for _ in range(50):
        next(model.stream("hi", **LONG))
    gc.collect()
    start = time.monotonic()
    model.generate("hi", max_tokens=1)
    assert time.monotonic() - start < 10 * alone + 1, "50 answers of 900 tokens would take 150 times that"


def test_streams_share_a_model(model, desk):
    streams = [model.stream(QUESTION, images=[DESK], decoder=decoder) for decoder in ["ar", "spec", "fused"] * 3]
    assert [stream.answer.tokens for stream in streams] == [desk.tokens] * 9
    texts = []
    threads = [
        threading.Thread(target=lambda: texts.append(model.generate(QUESTION, images=[DESK]).text)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [desk.text] * 6


def test_the_interpreter_runs_on_meanwhile(model):
    ticks = 0
    waiting = threading.Thread(target=lambda: model.generate("hi", **LONG))
    waiting.start()
    while waiting.is_alive():
        ticks += 1
        time.sleep(0.001)
    assert ticks > 20


def test_async_streams(model, desk):
    async def tell():
        return "".join([piece async for piece in model.stream(QUESTION, images=[DESK])])

    async def two():
        return await asyncio.gather(tell(), tell())

    assert asyncio.run(two()) == [desk.text] * 2

    async def given_up():
        stream = model.stream("hi", **LONG)

        async def read():
            async for _ in stream:
                pass

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.05)
        return stream

    assert asyncio.run(given_up()).answer.finish_reason == "cancelled"


def test_a_chat_remembers(model, desk):
    chat = model.chat(decoder="spec")
    assert chat.ask(QUESTION, images=[DESK]).text == desk.text
    second = "".join(chat.stream("What colour is the cube?"))
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "user", "assistant"]
    again = model.generate(chat.messages[:3])
    assert again.text == second == chat.messages[3]["content"]
    assert model.chat("You are terse.").messages[0] == {"role": "system", "content": "You are terse."}


def test_a_stream_keeps_its_model(desk):
    assert "".join(dvlm.Model().stream(QUESTION, images=[DESK])) == desk.text


def test_a_forked_process_is_told_to_load_the_model_itself(model):
    model.generate("hi", max_tokens=1)
    child = os.fork()
    if child == 0:
        try:
            model.generate("hi")
        except dvlm.Error as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    script = "import dvlm, os, sys; m = dvlm.Model(threads=2); m.generate('hi', max_tokens=1); p = os.fork(); p or sys.exit(0); os.waitpid(p, 0)"
    assert subprocess.run([os.sys.executable, "-c", script], timeout=60).returncode == 0


def test_chats_keep_their_pictures(model, tmp_path):
    pixels = numpy.array(PIL.Image.open(DESK).convert("RGB"))
    expected = [model.chat().ask(QUESTION, images=[pixels]).text]
    chat = model.chat()
    file = tmp_path / "desk.png"
    file.write_bytes(DESK.read_bytes())
    chat.ask(QUESTION, images=[file, pixels[:, :200]])
    tokens = model.generate(chat.messages + [{"role": "user", "content": "And?"}]).usage["prompt_tokens"]
    file.unlink()
    pixels[:] = 255
    assert chat.ask("And?").usage["prompt_tokens"] == tokens
    with chat.stream("Describe it.", decoder="ar") as stream:
        next(stream)
    assert chat.messages[-1]["role"] == "assistant" and len(chat.messages) == 6 and expected


def test_callbacks_may_use_the_stream(model):
    seen = []
    stream = model.stream("hi", max_tokens=3, on_end=lambda answer: seen.append(stream.answer is answer))
    assert stream.answer.finish_reason == "length" and seen == [True]


def test_keyboard_interrupt_ends_an_answer(tmp_path):
    script = "import dvlm; print('ready', flush=True); dvlm.Model().generate('hi', regex='([a-z ]{9000}){9}', max_tokens=30000, decoder='ar')"
    child = subprocess.Popen(
        ["python3", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        executable=os.environ.get("PYTHON"),
    )
    assert child.stdout.readline() == "ready\n"
    time.sleep(1)
    child.send_signal(2)
    _, error = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in error and child.returncode != 0
