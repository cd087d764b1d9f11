"""Makes tests/fixtures/image: small pictures of many kinds and, in golden.txt, fingerprints of what the reference
pipeline makes of them: decoded RGB bytes, resized bytes, patch values.

Versions: Pillow 11.3.0, numpy 2.4.6, torch 2.13.0 (CPU), transformers 4.57.1, av 18.1.0, Python 3.11.
Command:  python tools/make_image_fixtures.py tests/fixtures/image

Pillow must be older than 13: since then a resize that shrinks the height much more than the width does its vertical
pass first, which changes single levels. The models were trained with the older order.

The colour and resize rules are those of qwen_vl_utils 0.0.14 (fetch_image, smart_resize, fetch_video), written out
here because importing it needs torchvision. The patches come from the slow Qwen2VLImageProcessor of transformers.
"""
import io
import math
import pathlib
import struct
import sys
import zlib

import numpy as np
import PIL
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

FACTOR = 28
MIN, MAX = 4 * 784, 16384 * 784


def fnv(data: bytes) -> str:
    """64-bit FNV-1a over little-endian 8-byte words (the rest padded with zeros), then the length."""
    value = 0xCBF29CE484222325
    padded = data + bytes(-len(data) % 8)
    for word in np.frombuffer(padded, dtype="<u8").tolist() + [len(data)]:
        value = ((value ^ word) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def smart_resize(height, width, min_pixels=MIN, max_pixels=MAX, factor=FACTOR):
    if max(height, width) / min(height, width) > 200:
        raise ValueError("ratio")
    h = max(factor, round(height / factor) * factor)
    w = max(factor, round(width / factor) * factor)
    if h * w > max_pixels:
        beta = math.sqrt((height * width) / max_pixels)
        h = max(factor, math.floor(height / beta / factor) * factor)
        w = max(factor, math.floor(width / beta / factor) * factor)
    elif h * w < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h = math.ceil(height * beta / factor) * factor
        w = math.ceil(width * beta / factor) * factor
    return h, w


def to_rgb(image):
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        return white
    return image.convert("RGB")


def texture(width, height, channels, seed):
    """Noise on gradients: compresses badly enough to exercise coders, small enough to commit."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        a, b = rng.uniform(-3, 3, 2)
        plane = 128 + 60 * np.sin((a * x + b * y) * 6 / max(width, height)) + a * 25
        planes.append(plane + rng.normal(0, 14, plane.shape) + 90 * (((x + y * (c + 1)) // 9) % 5 == 0))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def image(mode, width, height, seed):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    array = texture(width, height, channels, seed)
    return Image.fromarray(array[..., 0] if channels == 1 else array, mode)


def encode(picture, format, **options):
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows, interlace=False, palette=None, trns=None):
    """A PNG of any kind: rows[y] are the samples of row y, channels interleaved."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]

    def pack(samples):
        if depth == 16:
            return b"".join(struct.pack(">H", s) for s in samples)
        bits = "".join(format(s, f"0{depth}b") for s in samples)
        bits += "0" * (-len(bits) % 8)
        return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))

    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, height, dy):
            row = [s for x in range(x0, width, dx) for s in rows[y][channels * x:channels * (x + 1)]]
            if row:
                data += b"\0" + pack(row)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))
    if palette is not None:
        out += chunk(b"PLTE", palette)
    if trns is not None:
        out += chunk(b"tRNS", trns)
    return out + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def samples(width, height, channels, top, seed):
    rng = np.random.default_rng(seed)
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    ramp = (x / width + y / height * (c + 1)) / (channels + 1) + rng.normal(0, 0.08, x.shape)
    return (np.clip(ramp, 0, 1) * top).astype(int).reshape(height, width * channels).tolist()


def pictures():
    """(file name, bytes, options) with options of the content item: min_pixels, max_pixels, resized_*."""
    yield "rgb.png", encode(image("RGB", 71, 53, 1), "PNG"), {}
    yield "rgba.png", encode(image("RGBA", 45, 62, 2), "PNG"), {}
    yield "grey.png", encode(image("L", 90, 41, 3), "PNG"), {}
    yield "grey_alpha.png", encode(image("LA", 33, 65, 4), "PNG"), {}
    base = image("RGB", 61, 47, 5)
    yield "palette.png", encode(base.quantize(200), "PNG"), {}
    yield "palette_16.png", encode(base.quantize(13), "PNG"), {}
    yield "palette_transparent.png", encode(base.quantize(40), "PNG", transparency=bytes(range(0, 200, 5))), {}
    yield "bit.png", encode(image("L", 77, 29, 6).convert("1"), "PNG"), {}
    for depth in (1, 2, 4):
        rows = samples(37, 43, 1, (1 << depth) - 1, depth)
        yield f"grey_{depth}.png", png(37, 43, depth, 0, rows), {}
        palette = np.random.default_rng(depth).integers(0, 256, 3 << depth, dtype=np.uint8).tobytes()
        yield f"palette_{depth}_interlaced.png", png(37, 43, depth, 3, rows, True, palette, b"\x80\x10"), {}
    yield "palette_short.png", png(37, 43, 4, 3, samples(37, 43, 1, 15, 7), palette=bytes(range(7, 34))), {}
    yield "grey_16.png", png(40, 31, 16, 0, samples(40, 31, 1, 700, 8)), {}
    yield "grey_16_bright.png", png(40, 31, 16, 0, samples(40, 31, 1, 65535, 9)), {}
    yield "rgb_16.png", png(29, 44, 16, 2, samples(29, 44, 3, 65535, 10)), {}
    yield "grey_alpha_16.png", png(25, 25, 16, 4, samples(25, 25, 2, 65535, 11)), {}
    yield "rgba_16.png", png(31, 30, 16, 6, samples(31, 30, 4, 65535, 12)), {}
    yield "grey_key.png", png(30, 40, 8, 0, samples(30, 40, 1, 255, 13), trns=struct.pack(">H", 100)), {}
    yield "rgb_key.png", png(30, 40, 8, 2, samples(30, 40, 3, 255, 14), trns=struct.pack(">HHH", 9, 80, 90)), {}
    yield "rgb_interlaced.png", png(35, 27, 8, 2, samples(35, 27, 3, 255, 15), True), {}
    yield "rgba_interlaced.png", png(27, 35, 8, 6, samples(27, 35, 4, 255, 16), True), {}
    yield "grey_1_interlaced.png", png(19, 23, 1, 0, samples(19, 23, 1, 1, 17), True), {}
    yield "rgba_16_interlaced.png", png(13, 11, 16, 6, samples(13, 11, 4, 65535, 18), True), {}
    yield "one_pixel.png", encode(image("RGB", 1, 1, 19), "PNG"), {}
    yield "two_by_three.png", encode(image("RGBA", 2, 3, 20), "PNG"), {}
    yield "wide.png", encode(image("L", 400, 2, 21), "PNG"), {}
    yield "tall.png", encode(image("RGB", 3, 400, 22), "PNG"), {}
    yield "exact.png", encode(image("RGB", 84, 56, 23), "PNG"), {}
    yield "same_width.png", encode(image("RGB", 84, 61, 24), "PNG"), {}
    yield "same_height.png", encode(image("RGB", 75, 56, 25), "PNG"), {}
    yield "up.png", encode(image("RGB", 40, 30, 26), "PNG"), {"min_pixels": 60000}
    yield "down.png", encode(image("RGB", 150, 110, 27), "PNG"), {"max_pixels": 5000}
    yield "asked.png", encode(image("RGB", 50, 70, 28), "PNG"), {"resized_height": 100, "resized_width": 63}

    photo = image("RGB", 97, 83, 30)
    yield "420.jpg", encode(photo, "JPEG", quality=82), {}
    yield "422.jpg", encode(photo, "JPEG", quality=75, subsampling="4:2:2"), {}
    yield "444.jpg", encode(photo, "JPEG", quality=95, subsampling="4:4:4"), {}
    yield "440.jpg", jpeg_440(encode(photo, "JPEG", quality=80, subsampling="4:2:2")), {}
    yield "odd_1x9.jpg", encode(image("RGB", 9, 1, 31), "JPEG", quality=80), {}
    yield "progressive.jpg", encode(photo, "JPEG", quality=80, progressive=True), {}
    yield "progressive_444.jpg", encode(photo, "JPEG", quality=90, progressive=True, subsampling=0), {}
    yield "restart.jpg", encode(photo, "JPEG", quality=80, restart_marker_blocks=3), {}
    yield "grey.jpg", encode(image("L", 58, 79, 32), "JPEG", quality=70), {}
    yield "cmyk.jpg", encode(image("CMYK", 51, 49, 33), "JPEG", quality=85), {}
    yield "ycck.jpg", ycck(encode(image("CMYK", 51, 49, 34), "JPEG", quality=85)), {}
    yield "rgb_adobe.jpg", encode(photo, "JPEG", quality=85, keep_rgb=True), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "rotated.jpg", encode(photo, "JPEG", quality=80, exif=exif), {}
    yield "down.jpg", encode(image("RGB", 333, 211, 35), "JPEG", quality=60), {"max_pixels": 20000}
    yield "shrunk_much.jpg", encode(image("RGB", 480, 360, 36), "JPEG", quality=20), {"max_pixels": 8000}

    yield "lossy.webp", encode(photo, "WEBP", quality=80), {}
    yield "lossless.webp", encode(image("RGB", 43, 57, 37), "WEBP", lossless=True), {}
    yield "alpha_lossy.webp", encode(image("RGBA", 66, 39, 38), "WEBP", quality=70), {}
    yield "alpha_lossless.webp", encode(image("RGBA", 38, 51, 39), "WEBP", lossless=True, exact=True), {}
    yield "odd.webp", encode(image("RGB", 31, 1, 40), "WEBP", quality=90), {}
    opaque = image("RGBA", 30, 30, 41)
    opaque.putalpha(255)
    yield "opaque.webp", encode(opaque, "WEBP", quality=80), {}

    yield "binary.ppm", encode(image("RGB", 23, 34, 42), "PPM"), {}
    yield "binary.pgm", encode(image("L", 23, 34, 43), "PPM"), {}
    rng = np.random.default_rng(44)
    yield "text.ppm", b"P3 # colours\n5 4\n# largest\n200\n" + b" ".join(b"%d" % v for v in rng.integers(0, 201, 60)), {}
    yield "text.pgm", b"P2\n6 5\n15\n" + b"\n".join(b"%d" % v for v in rng.integers(0, 16, 30)) + b"\n", {}
    yield "binary_100.pgm", b"P5 7 6 100\n" + rng.integers(0, 101, 42, dtype=np.uint8).tobytes(), {}
    yield "binary_16.ppm", b"P6 7 6 4095\n" + rng.integers(0, 4096, 126).astype(">u2").tobytes(), {}
    yield "binary_16.pgm", b"P5 7 6 65535\n" + rng.integers(0, 400, 42).astype(">u2").tobytes(), {}
    yield "24.bmp", encode(image("RGB", 29, 23, 45), "BMP"), {}
    yield "32.bmp", bmp_32(21, 17), {}
    yield "top_down.bmp", bmp_32(21, 17, True), {}


def jpeg_440(data):
    """4:2:2 with the sampling factors turned: decodes to noise, but to the same noise everywhere."""
    at = data.index(b"\xff\xc0")
    assert data[at + 11] == 0x21
    # Sides swapped keep the number of blocks.
    height, width = struct.unpack(">HH", data[at + 5:at + 9])
    return data[:at + 5] + struct.pack(">HH", width, height) + data[at + 9:at + 11] + b"\x12" + data[at + 12:]


def ycck(data):
    """An Adobe CMYK JPEG whose marker says YCCK."""
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    return data[:at] + b"\x02" + data[at + 1:]


def bmp_32(width, height, top_down=False):
    pixels = texture(width, height, 4, 46).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, width, -height if top_down else height, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels


def processor(min_pixels=MIN, max_pixels=MAX):
    return Qwen2VLImageProcessor(min_pixels=min_pixels, max_pixels=max_pixels)


def fetch(picture, options):
    rgb = to_rgb(picture)
    if "resized_height" in options:
        height, width = smart_resize(options["resized_height"], options["resized_width"])
    else:
        height, width = smart_resize(rgb.height, rgb.width, options.get("min_pixels", MIN),
                                     options.get("max_pixels", MAX))
    return rgb, rgb.resize((width, height))


def stages(name, data, options):
    rgb, resized = fetch(Image.open(io.BytesIO(data)), options)
    bounds = {k: v for k, v in options.items() if k.endswith("pixels")}
    out = processor(**bounds).preprocess(images=[resized], do_resize=True)
    values = np.ascontiguousarray(out["pixel_values"])
    assert values.dtype == np.float32, values.dtype
    t, h, w = out["image_grid_thw"][0]
    assert (h * 14, w * 14) == (resized.height, resized.width), name
    row = [name, options.get("min_pixels", MIN), options.get("max_pixels", MAX), options.get("resized_height", 0),
           options.get("resized_width", 0), rgb.width, rgb.height, fnv(rgb.tobytes()), resized.width, resized.height,
           fnv(resized.tobytes()), t, h, w, fnv(values.tobytes())]
    return " ".join(map(str, row))


def index_patches(lines):
    """The patch order itself: the first value of each row of an index picture's patches (value = y * W + x)."""
    height, width = 56, 84
    pixels = (np.arange(height)[:, None] * width + np.arange(width)[None]).astype(np.float32)
    frames = [np.stack([pixels + 10000 * c + 100000 * t for c in range(3)], -1) for t in range(4)]
    patches, grid = processor()._preprocess(frames, do_resize=False, do_rescale=False, do_normalize=False,
                                            patch_size=14, temporal_patch_size=2, merge_size=2, do_convert_rgb=False)
    patches = patches.astype(np.int32)
    lines.append(f"index {width} {height} {len(frames)} {grid[0]} {grid[1]} {grid[2]} {fnv(patches.tobytes())}")


def frame_lists(lines):
    for name, count, width, height, seed in (("even", 4, 60, 45, 60), ("odd", 5, 31, 58, 61), ("single", 1, 40, 40, 62)):
        frames = []
        for i in range(count):
            rgb = index_colors(width, height, seed + i)
            frames.append(fetch(rgb, {})[1])
        padded = frames + [frames[-1]] * (count % 2)
        values, grid = processor()._preprocess(
            padded, do_resize=True, size={"shortest_edge": MIN, "longest_edge": MAX}, resample=Image.BICUBIC,
            do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=processor().image_mean,
            image_std=processor().image_std, patch_size=14, temporal_patch_size=2, merge_size=2, do_convert_rgb=True)
        lines.append(f"frames {name} {count} {width} {height} {seed} {grid[0]} {grid[1]} {grid[2]} "
                     f"{fnv(np.ascontiguousarray(values).tobytes())}")


def index_colors(width, height, seed):
    """A picture that the test makes itself: no random generator needed."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
    planes = [((x * (37 + c) + y * (91 + 2 * c) + seed * 17 + (x * y * (c + 3)) // 5) % 256) for c in range(3)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8), "RGB")


def resizes(lines):
    """Pillow's and torch's resize of generated pictures, many ratios; torch's as bytes, for a comparison within 1."""
    for seed, (w, h, to_w, to_h) in enumerate([(1, 1, 28, 28), (3, 5, 28, 56), (97, 61, 28, 28), (200, 150, 224, 140),
                                               (64, 64, 63, 65), (333, 17, 112, 28), (17, 333, 28, 336), (50, 50, 50, 84),
                                               (50, 50, 84, 50), (255, 257, 56, 56), (1000, 30, 1008, 28)]):
        rgb = index_colors(w, h, 100 + seed)
        lines.append(f"resize {w} {h} {100 + seed} {to_w} {to_h} {fnv(rgb.resize((to_w, to_h)).tobytes())}")


def torch_resizes(folder, lines):
    blob = b""
    for seed, (w, h, to_w, to_h) in enumerate([(64, 48, 84, 56), (97, 61, 56, 28), (120, 90, 56, 56), (40, 30, 140, 112)]):
        rgb = index_colors(w, h, 200 + seed)
        tensor = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float()
        out = torch.nn.functional.interpolate(tensor, size=[to_h, to_w], mode="bicubic", antialias=True)
        out = out.clamp(0, 255).round().to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy().tobytes()
        lines.append(f"torch {w} {h} {200 + seed} {to_w} {to_h} {len(blob)}")
        blob += out
    (folder / "torch_resize.bin").write_bytes(blob)


def frame_indices(lines):
    for total, fps, asked, nframes in ((10, 5.0, 2.0, 0), (100, 30.0, 2.0, 0), (7, 25.0, 2.0, 0), (3000, 29.97, 2.0, 0),
                                       (900, 10.0, 4.0, 0), (50, 24.0, 2.0, 8), (31, 24.0, 2.0, 5), (4, 1.0, 2.0, 0),
                                       (40000, 25.0, 2.0, 0), (24, 23.976, 1.0, 0)):
        if nframes:
            n = round(nframes / 2) * 2
        else:
            low, high = 4, math.floor(min(768, total) / 2) * 2
            n = total / fps * asked
            n = math.floor(min(min(max(n, low), high), total) / 2) * 2
        indices = torch.linspace(0, total - 1, n).round().long().numpy().astype(np.int32)
        lines.append(f"select {total} {fps} {asked} {nframes} {n} {fnv(indices.tobytes())}")


def video(folder):
    import av

    with av.open(str(folder / "clip.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = 30
        stream.bit_rate = 60000
        for i in range(24):
            # Frame i is a flat grey of 20 + 9 i with a bright square that walks to the right.
            array = np.full((48, 64, 3), 20 + 9 * i, np.uint8)
            array[16:32, 2 * i:2 * i + 16] = (250, 30, 30)
            for packet in stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


def main():
    assert int(PIL.__version__.split(".")[0]) < 13, "Pillow 13 resizes in another order"
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Made by tools/make_image_fixtures.py; the kinds of lines are read by tests/image/golden_test.cpp."]
    for name, data, options in pictures():
        (folder / name).write_bytes(data)
        lines.append("picture " + stages(name, data, options))
    index_patches(lines)
    frame_lists(lines)
    resizes(lines)
    torch_resizes(folder, lines)
    frame_indices(lines)
    (folder / "golden.txt").write_text("\n".join(lines) + "\n")
    video(folder)
    still, other = image("RGB", 16, 12, 70), image("RGB", 16, 12, 71)
    (folder / "animated.webp").write_bytes(encode(still, "WEBP", save_all=True, append_images=[other], quality=50))
    (folder / "animation.gif").write_bytes(encode(still.quantize(4), "GIF"))
    print(f"{sum(line.startswith('picture') for line in lines)} pictures")


main()
