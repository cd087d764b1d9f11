#!/usr/bin/env python3
"""What a pass of the 3B shape should cost on a card, term by term, so that a measurement can prove it wrong.

  bench/gpu/cost_model.py

A term is bytes over a rate or a number of steps times their length; docs/gpu.md holds the table and says where each
number is from. Tokens per second: one token a pass (1 row), else a round of two passes that gives four tokens.
"""

LAYERS, HIDDEN, INTERMEDIATE, QKV, VOCAB, KV_HEADS, DIM = 36, 2048, 11008, 2560, 151936, 2, 128
CONTEXT = 1300

# Name; read rate of long streams in GB/s; share of it that the linear layers reach; microseconds of a step between
# them (norm, M-RoPE, attention, combine), for few rows.
CARDS = [("H100 SXM", 3090, 0.88, 6.3), ("RTX 4090", 930, 0.88, 6.3), ("Orin AGX", 175, 0.88, 13)]
STEPS = 5  # of a layer between linear layers; one more with FP8


def bytes_of(precision: str) -> dict[str, float]:
    weight = 2 if precision == "BF16" else 1
    layer = QKV * HIDDEN + HIDDEN * HIDDEN + 3 * INTERMEDIATE * HIDDEN
    return {"layers": LAYERS * layer * weight, "head": VOCAB * HIDDEN * 2,
            "keys": LAYERS * KV_HEADS * DIM * 2 * 2 * CONTEXT}


def terms(card, precision: str, rows: int) -> dict[str, float]:
    """Milliseconds."""
    _, rate, share, step = card
    data = bytes_of(precision)
    # Beyond 8 rows inputs take room and time beside the weights: as measured on an H100 at 32 rows.
    wide = {1: 1.0, 8: 1.0, 32: 1.13, 64: 1.2}[rows]
    steps = STEPS + (precision == "FP8")
    return {"weights": (data["layers"] + data["head"]) / (rate * share) / 1e6 * wide,
            "keys": data["keys"] / rate / 1e6, "steps": LAYERS * steps * step / 1e3, "choice": 0.011 + 0.0003 * rows}


def main() -> None:
    print("| card | precision | rows | weights ms | keys ms | steps ms | choice ms | pass ms | tokens/s |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for card in CARDS:
        for precision in ("BF16", "FP8"):
            for rows in (1, 8, 32, 64):
                t = terms(card, precision, rows)
                total = sum(t.values())
                tokens = 1000 / total * (1 if rows == 1 else 2)
                print(f"| {card[0]} | {precision} | {rows} | {t['weights']:.2f} | {t['keys']:.3f} | {t['steps']:.2f} | "
                      f"{t['choice']:.3f} | {total:.2f} | {tokens:.0f} |")


if __name__ == "__main__":
    main()
