"""Answers, whole and as they are written."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, Optional

from dvlm import _dvlm

OnProgress = Callable[[str, int, int], Any]  # stage, done, total

_POLL_MS = 100  # between looks at what Ctrl-C wants


@dataclass(frozen=True)
class Pass:
    """One pass over the model. `block` holds its tokens as text, None where masked."""

    kind: str  # "prefill", "decode", "draft", "verify", "denoise", "commit"
    rows: int
    block: List[Optional[str]]
    accepted: int  # tokens of the block that are text now
    emitted: int  # tokens that the pass added to the text
    forced: List[int] = field(default_factory=list)  # indices in the block: a grammar left no choice


@dataclass(frozen=True)
class Answer:
    """What `dvlm run --json` prints (docs/cli.md)."""

    text: str
    tokens: List[int]
    finish_reason: str  # "stop", "length", "cancelled"
    usage: Dict[str, int]  # prompt_tokens, image_tokens, completion_tokens
    images: List[Dict[str, int]]  # sizes before and after resizing, tokens
    stats: Dict[str, Any]  # decoder, nfe, tokens_per_nfe, times in milliseconds, ...
    passes: List[Pass] = field(default_factory=list)  # with passes=True

    def json(self) -> Any:
        """The text, parsed: of answers that follow a schema. Raises json.JSONDecodeError."""
        return json.loads(self.text)

    def __str__(self) -> str:
        return self.text


def _parse_answer(text: str) -> Answer:
    members = json.loads(text)
    passes = [Pass(**one) for one in members.pop("passes", [])]
    return Answer(**members, passes=passes)


class Stream:
    """An answer under way: iterate over its text, with `for` or `async for`, or ask for its `answer`.

    It is cancelled by `cancel`, by leaving its `with`, by an exception while waiting for it, and when it is dropped.
    Several streams of one model share passes.
    """

    def __init__(
        self,
        under_way: _dvlm.Answer,
        on_progress: Optional[OnProgress] = None,
        on_end: Optional[Callable[[Answer], None]] = None,
        model: Any = None,
    ):
        self._under_way = under_way
        self._on_progress = on_progress
        self._on_end = on_end
        self._model = model  # stays while an answer is under way
        self._lock = threading.Lock()  # over what follows; no function of the caller is called under it
        self._ended = False
        self._answer: Optional[Answer] = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self._next()
        if piece is None:
            raise StopIteration
        return piece

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> str:
        try:
            piece = await asyncio.get_running_loop().run_in_executor(_waiters(), self._next)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    def cancel(self) -> None:
        """Ends the answer with the next pass. From any thread."""
        self._under_way.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.cancel()
        if self._on_end is not None:
            try:
                self.answer  # who waits for the end hears of it
            except _dvlm.Error:
                pass

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(_waiters(), self.__exit__)

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for its end. Raises dvlm.Error where there is none."""
        while self._next() is not None:
            pass
        assert self._answer is not None
        return self._answer

    def _next(self) -> Optional[str]:
        """The next piece of text; None: there is no more, and the answer is there."""
        try:
            while True:
                with self._lock:
                    if self._ended:
                        break
                    update = self._under_way.wait(_POLL_MS)
                    if update is None:
                        continue
                    text, stage, done, total, self._ended = update
                if stage is not None and self._on_progress is not None:
                    self._on_progress(stage, done, total)
                if text:
                    return text
            self._finish()
            return None
        except BaseException:
            self._under_way.cancel()
            raise

    def _finish(self) -> None:
        with self._lock:
            if self._answer is not None:
                return
            answer = self._answer = _parse_answer(self._under_way.result())
            self._model = None
        if self._on_end is not None:
            self._on_end(answer)


@lru_cache(maxsize=None)
def _waiters() -> ThreadPoolExecutor:
    """Threads that wait for text of asynchronous streams: the event loop's own have other work."""
    return ThreadPoolExecutor(max_workers=64, thread_name_prefix="dvlm")
