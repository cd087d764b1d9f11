"""Pictures as Python programs hold them, as the buffers and sizes that dvlm reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from dvlm import _dvlm

# (buffer, number of its format, width, height, bytes from a row to the next; 0: no gaps)
Buffer = Tuple[Any, int, int, int, int]

_CHANNELS = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1, "nv12": 1}
_LARGEST = 1 << 30  # a side, far beyond what is read


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
        width, height = index(self.width), index(self.height)
        row = width * _CHANNELS[self.format]
        rows = height + height // 2 if self.format == "nv12" else height
        stride = index(self.stride) or row
        view = memoryview(self.data)
        if view.itemsize != 1:
            raise ValueError(f'pixels have 8 bits per channel (uint8), not elements of the type "{view.format}"')
        if not view.c_contiguous:
            if stride != row:
                raise ValueError("the rows of a slice have a stride of their own: give the whole array, or no stride")
            view = memoryview(view.tobytes())
        sizes_fit = 0 < width < _LARGEST and 0 < height < _LARGEST and stride >= row
        if not sizes_fit or view.nbytes < stride * (rows - 1) + row:
            raise ValueError(
                f"{width} x {height} pixels of {self.format} in rows of {stride} bytes do not fit in "
                f"{view.nbytes} bytes"
            )
        return view, _dvlm.FORMATS[self.format], width, height, stride if rows > 1 else row


def _of_array(array: Any) -> Buffer:
    """[height, width], or [height, width, 1, 3 or 4] in RGB order; the bytes of a file where there are no rows."""
    view = memoryview(array)
    shape, strides = view.shape or (), view.strides or ()
    if view.format not in ("B", "<B", ">B", "=B", "@B"):
        raise ValueError(f'a picture has 8 bits per channel (uint8), not elements of the type "{view.format}"')
    if len(shape) == 1:
        return view if view.c_contiguous else view.tobytes(), _dvlm.FORMATS["file"], 0, 0, 0
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


def is_picture(value: Any) -> bool:
    """Whether it is one picture, and no list of them."""
    return (
        isinstance(value, (str, bytes, bytearray, os.PathLike, Frame))
        or hasattr(value, "shape")
        or hasattr(value, "mode")
    )


def listed(images: Sequence[Any]) -> List[Any]:
    """Pictures in a list; one alone is refused, since many kinds of them look like sequences."""
    if is_picture(images):
        raise TypeError("images is a list of pictures: put this one into a list")
    return list(images)


def source_or_buffer(picture: Any) -> str | Buffer:
    """A path or an address as it is; of pixels and the bytes of a picture file a buffer."""
    if isinstance(picture, (str, os.PathLike)):
        path = os.fsdecode(picture)
        if path.startswith("frame:"):  # the names of buffers
            raise ValueError(f'a file of that name is written "./{path}"')
        if "\0" in path:
            raise ValueError("a path has a zero byte in it")
        return path
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


def kept(picture: Any) -> Any:
    """The picture as it is now, whatever becomes of its memory or its file."""
    source = source_or_buffer(picture)
    if isinstance(source, str):
        return Path(source).read_bytes() if os.path.isfile(source) else source
    view, format, width, height, stride = source
    if format == _dvlm.FORMATS["file"]:
        return bytes(view)
    name = next(name for name, number in _dvlm.FORMATS.items() if number == format)
    view = memoryview(view)
    if not view.c_contiguous:
        view, stride = memoryview(view.tobytes()), 0
    return Frame(bytes(view), width, height, name, stride)
