"""Models and conversations with them."""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from dvlm import _dvlm
from dvlm._answers import Answer, OnProgress, Stream
from dvlm._pictures import Buffer, kept, listed, source_or_buffer

if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Unpack

    class Options(TypedDict, total=False):
        """How an answer is written; what is left out is chosen for speed (docs/cli.md, docs/decoding.md)."""

        decoder: str  # "auto", "ar", "spec", "fused", "mdm"
        block_size: int
        branches: int
        draft_p_min: float
        threshold: float
        sub_block: int
        max_tokens: int
        temperature: float
        top_k: int
        top_p: float
        seed: int
        repetition_penalty: float
        presence_penalty: float
        frequency_penalty: float
        logit_bias: Dict[Union[int, str], float]
        stop: Union[str, Sequence[str]]
        min_pixels: int
        max_pixels: int
        add_vision_id: bool
        passes: bool
        json_schema: Union[str, Dict[str, Any]]
        json_spaces: str
        regex: str
        grammar: str


Messages = Union[str, Sequence[Dict[str, Any]]]
Path_ = Union[str, "os.PathLike[str]"]


def _with_pictures(messages: Messages, images: Sequence[Any]) -> List[Dict[str, Any]]:
    """Messages in which `images` stand before the text of the last user."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    out = [dict(message) for message in messages]
    images = listed(images)
    if not images:
        return out
    last = next((message for message in reversed(out) if message.get("role") == "user"), None)
    if last is None:
        raise ValueError("images belong to a message of the user, and there is none")
    content = last.get("content", "")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    last["content"] = [{"type": "image", "image": image} for image in images] + parts
    return out


def _take_pictures(messages: Sequence[Dict[str, Any]]) -> Tuple[List[Dict[str, Any]], List[Buffer]]:
    """Messages in which every picture is a name, and the buffers that these name."""
    buffers: List[Buffer] = []

    def named(part: Any) -> Any:
        if not isinstance(part, dict) or part.get("image") is None:
            return part
        source = source_or_buffer(part["image"])
        if not isinstance(source, str):
            buffers.append(source)
            source = f"frame:{len(buffers) - 1}"
        return {**part, "image": source}

    out = []
    for message in messages:
        content = message.get("content")
        if not isinstance(content, (str, type(None))):
            message = {**message, "content": [named(part) for part in content]}
        out.append(message)
    return out, buffers


def _request(messages: Sequence[Dict[str, Any]], options: Dict[str, Any]) -> str:
    options = {key: value for key, value in options.items() if value is not None}
    if isinstance(options.get("json_schema"), dict):
        options["json_schema"] = json.dumps(options["json_schema"])
    return json.dumps({"messages": messages, **options}, allow_nan=False)


class Model:
    """A checkpoint, ready to answer. Any thread may use it; answers under way together share passes.

    `model` is a Hugging Face folder or a name of the hub that `dvlm pull` has fetched; without it the small model
    that comes with dvlm. `device`: "auto", "cpu", "cuda", "cuda:1". `precision`: "auto", "f32", "bf16", "int8",
    "int4". `memory_limit` is in bytes. Raises dvlm.Error with a sentence for what cannot be used.
    """

    def __init__(
        self,
        model: Optional[Path_] = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        draft_precision: str = "auto",
        packed: Optional[Path_] = None,
        threads: int = 0,
        memory_limit: int = 0,
        lora: Optional[Path_] = None,
        draft_lora: Optional[Path_] = None,
    ):
        folder = os.fspath(model) if model is not None else str(Path(__file__).parent / "dvlm-tiny")
        options = {"device": device, "precision": precision, "draft_precision": draft_precision, "threads": threads}
        options["memory_limit"] = memory_limit
        for key, path in (("packed", packed), ("lora", lora), ("draft_lora", draft_lora)):
            if path is not None:
                options[key] = os.fspath(path)
        self._engine = _dvlm.Engine(folder, json.dumps(options))
        self._close = weakref.finalize(self, self._engine.close)

    def stream(
        self,
        messages: Messages,
        *,
        images: Sequence[Any] = (),
        on_progress: Optional[OnProgress] = None,
        on_end: Optional[Callable[[Answer], None]] = None,
        **options: Unpack[Options],
    ) -> Stream:
        """Begins an answer to a question, or to messages in OpenAI's form. Returns when its pictures are read.

        `images` come before the last question: paths, bytes of picture files, arrays of uint8, PIL images,
        dvlm.Frame; a part {"type": "image", "image": ...} of a message may hold the same. `on_progress(stage, done,
        total)` hears of work that gives no text yet, `on_end` gets the whole answer. Both are called by the thread that
        waits for the text. Raises dvlm.Error for what cannot be answered, ValueError and TypeError for pictures that
        are none.
        """
        named, buffers = _take_pictures(_with_pictures(messages, images))
        return Stream(self._engine.submit(_request(named, dict(options)), buffers), on_progress, on_end, self)

    def generate(
        self,
        messages: Messages,
        *,
        images: Sequence[Any] = (),
        on_progress: Optional[OnProgress] = None,
        **options: Unpack[Options],
    ) -> Answer:
        """The whole answer; see stream."""
        return self.stream(messages, images=images, on_progress=on_progress, **options).answer

    def chat(self, system: Optional[str] = None, **options: Unpack[Options]) -> Chat:
        """A conversation, in which `options` are those of every answer."""
        return Chat(self, system, dict(options))

    def close(self) -> None:
        """Frees the model. What is under way is cancelled."""
        self._close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Chat:
    """A conversation. What earlier turns have computed is kept: a further question reads only itself.

    `messages` is what was said so far, and may be changed. It holds copies of pictures: what becomes of a frame's
    memory or of a file changes no earlier turn. An answer that was cancelled stays as far as it went.
    """

    def __init__(self, model: Model, system: Optional[str] = None, options: Optional[Dict[str, Any]] = None):
        self.model = model
        self.options = options or {}
        self.messages: List[Dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]

    def ask(self, question: str, *, images: Sequence[Any] = (), **options: Any) -> Answer:
        """The whole answer; `options` as those of Model.generate."""
        return self.stream(question, images=images, **options).answer

    def stream(self, question: str, *, images: Sequence[Any] = (), **options: Any) -> Stream:
        """As ask; question and answer join the conversation when the stream has ended or its `with` is left."""
        asked = _with_pictures(question, [kept(image) for image in listed(images)])
        on_end = options.pop("on_end", None)

        def remember(answer: Answer) -> None:
            self.messages += [*asked, {"role": "assistant", "content": answer.text}]
            if on_end is not None:
                on_end(answer)

        return self.model.stream(self.messages + asked, on_end=remember, **{**self.options, **options})
