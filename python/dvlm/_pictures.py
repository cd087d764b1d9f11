"""Pictures as Python programs hold them, as the buffers and sizes that dvlm reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Tuple

from dvlm import _dvlm

# (buffer, number of its format, width, height, bytes from a row to the next; 0: no gaps)
Buffer = Tuple[Any, int, int, int, int]

_CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1, "nv12": 1}


@dataclass
class Frame:
    """Pixels in memory, as a camera gives them: 8 bits per channel, the top row first.

    `data` is anything with a buffer: bytes, a numpy array, a mapping. `format` is one of "rgb", "bgr", "rgba",
    "bgra", "gray" and "nv12" (BT.601: a plane of luma, and right behind it one of half its size with U and V in
    turn). `stride`: bytes from a row to the next; 0: rows without gaps.
    """

    data: Any
    width: int
    height: int
    format: str = "rgb"
    stride: int = 0

    def buffer(self) -> Buffer:
        if self.format not in _CHANNELS:
            raise ValueError(f'there is no format "{self.format}" of pixels; choose one of {", ".join(_CHANNELS)}')
        row = self.width * _CHANNELS[self.format]
        stride = self.stride or row
        rows = self.height + self.height // 2 if self.format == "nv12" else self.height
        view = memoryview(self.data)
        if not view.c_contiguous:
            view = memoryview(view.tobytes())
        if min(self.width, self.height, rows) < 1 or stride < row or view.nbytes < stride * (rows - 1) + row:
            raise ValueError(
                f"{self.width} x {self.height} pixels of {self.format} in rows of {stride} bytes do not fit in "
                f"{view.nbytes} bytes"
            )
        return view, _dvlm.FORMATS[self.format], self.width, self.height, stride


def _of_array(array: Any) -> Buffer:
    """[height, width], or [height, width, 1, 3 or 4] in RGB order."""
    view = memoryview(array)
    shape, strides = view.shape or (), view.strides or ()
    if view.format != "B":
        raise ValueError(f'a picture has 8 bits per channel (uint8), not elements of the type "{view.format}"')
    formats = {1: "gray", 3: "rgb", 4: "rgba"}
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in formats or 0 in shape:
        raise ValueError(f"a picture is [height, width] or [height, width, 1, 3 or 4], not {list(shape)}")
    height, width = shape[:2]
    row = width * channels
    side_by_side = strides[1:] == ((channels, 1) if len(shape) == 3 else (1,))
    if not side_by_side or strides[0] < row:
        return memoryview(view.tobytes()), _dvlm.FORMATS[formats[channels]], width, height, row
    return view, _dvlm.FORMATS[formats[channels]], width, height, strides[0]


def _of_pil(image: Any) -> Buffer:
    if image.mode not in ("RGB", "RGBA", "L"):
        image = image.convert("RGB")
    format = {"RGB": "rgb", "RGBA": "rgba", "L": "gray"}[image.mode]
    return Frame(image.tobytes(), image.width, image.height, format).buffer()


def source_or_buffer(picture: Any) -> str | Buffer:
    """A path or an address as it is; of pixels and the bytes of a picture file a buffer."""
    if isinstance(picture, (str, os.PathLike)):
        return os.fspath(picture)
    if isinstance(picture, Frame):
        return picture.buffer()
    if isinstance(picture, (bytes, bytearray)):
        return picture, _dvlm.FORMATS["file"], 0, 0, 0
    if hasattr(picture, "mode") and hasattr(picture, "tobytes") and hasattr(picture, "convert"):
        return _of_pil(picture)
    if hasattr(picture, "detach") and hasattr(picture, "numpy"):  # a tensor of PyTorch
        picture = picture.detach().numpy()
    try:
        memoryview(picture)
    except TypeError:
        raise TypeError(
            f"a picture is a path, the bytes of a file, an array of uint8, a PIL image or a dvlm.Frame, "
            f"not {type(picture).__name__}"
        ) from None
    return _of_array(picture)
