"""The published 3B shape, as src/measure/random_checkpoint.cpp has it, and how much work its passes are."""

from dataclasses import dataclass

TOKEN = 5  # the token that every row of every pass holds, as in dvlm bench pass


@dataclass(frozen=True)
class TextShape:
    layers: int = 36
    hidden: int = 2048
    heads: int = 16
    kv_heads: int = 2
    head_dim: int = 128
    intermediate: int = 11008
    vocab: int = 151936
    rope_theta: float = 1e6
    rms_eps: float = 1e-6
    max_positions: int = 128000
    mrope_section: tuple[int, ...] = (16, 24, 24)


@dataclass(frozen=True)
class VisionShape:
    depth: int = 32
    hidden: int = 1280
    intermediate: int = 3420
    heads: int = 16
    out_hidden: int = 2048
    patch: int = 14
    temporal_patch: int = 2
    window: int = 112
    full_attention_blocks: tuple[int, ...] = (7, 15, 23, 31)

    @property
    def patch_elements(self) -> int:
        return 3 * self.temporal_patch * self.patch * self.patch

    def grid(self, size: str) -> tuple[int, int]:
        """(rows, columns) of patches of a picture "WIDTHxHEIGHT"; both must be multiples of 28."""
        width, height = (int(side) for side in size.split("x"))
        if width % (2 * self.patch) or height % (2 * self.patch):
            raise ValueError(f"{size}: width and height must be multiples of {2 * self.patch}")
        return height // self.patch, width // self.patch
