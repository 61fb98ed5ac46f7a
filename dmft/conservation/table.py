"""The table of architectures in the documentation, counted anew each time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dmft.conservation.architectures import parse_architecture
from dmft.conservation.counting import Count, count
from dmft.conservation.draws import CONSTANTS, FORMAL, PATTERNS, SELECTIONS

_ROTARY = {"kind": "attention", "width": 5, "head_dim": 4, "tokens": 3, "position": "rotary"}
_ATTENTION = {"kind": "attention", "width": 4, "head_dim": 2, "tokens": 3}
_LISTED = "as listed in conservation.md"
_MOE = {"kind": "moe", "widths": [4, 2, 2], "experts": 3}

# Title of a section, and its rows: settings, and what the count is in general.
SECTIONS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "Linear networks": [
        ({"kind": "linear", "widths": widths}, note)
        for widths, note in (
            ([2, 2, 2], "r(r+1)/2"),
            ([2, 4, 2], "r(r+1)/2, r = n+m"),
            ([2, 5, 2], "r(n+m) - (n+m)(n+m-1)/2, r > n+m"),
            ([5, 5, 5], "r(r+1)/2"),
            ([3, 4, 2, 5], "sum r_i(r_i+1)/2"),
            ([1, 2, 2, 2], "sum r_i(r_i+1)/2"),
            ([10, 10, 10, 10, 10], "sum r_i(r_i+1)/2"),
            ([20, 20, 20], "r(r+1)/2"),
            ([1, 2, 2, 1], "D-1: one field only; one law by a quadrature"),
        )
    ]
    + [
        ({"kind": "linear", "widths": [3, 4, 2], "bias": True}, "r(r+1)/2"),
        ({"kind": "linear", "widths": [4, 3], "loss": "cross-entropy"}, "one per input"),
        (
            {"kind": "linear", "widths": [4, 3], "loss": "cross-entropy", "output_bias": True},
            "one per input, and one",
        ),
    ],
    "Other flows; D counts the parameters, the state has more entries": [
        ({"kind": "linear", "widths": [3, 4, 2], "flow": "multiplicative"}, "one per neuron"),
        ({"kind": "relu", "widths": [3, 4, 2], "flow": "multiplicative"}, "one per neuron"),
        ({"kind": "linear", "widths": [3, 4, 2], "flow": "weight-decay"}, "as without decay"),
        ({"kind": "relu", "widths": [3, 4, 2], "flow": "weight-decay"}, "as without decay"),
        ({"kind": "linear", "widths": [2, 2, 2], "flow": "momentum"}, "r(r-1)/2"),
        ({"kind": "linear", "widths": [3, 4, 2], "flow": "momentum"}, "r(r-1)/2"),
        ({"kind": "relu", "widths": [3, 4, 2], "flow": "momentum"}, "0"),
    ],
    "Diagonal and symmetric networks": [
        ({"kind": "diagonal", "dimension_of_inputs": 3, "depth": 3}, "d(L-1)"),
        ({"kind": "diagonal", "dimension_of_inputs": 1, "depth": 5}, "D-1"),
        (
            {"kind": "diagonal", "dimension_of_inputs": 3, "depth": 2, "form": "difference"},
            "d",
        ),
        ({"kind": "symmetric", "widths": [2, 5]}, "n(r-n), r > n: the row space, rational"),
        ({"kind": "symmetric", "widths": [3, 2]}, "0, r <= n"),
    ],
    "Perceptrons and gated units": [
        ({"kind": "relu", "widths": [3, 4, 4, 2], "bias": True}, "one per hidden neuron"),
        ({"kind": "leaky-relu", "widths": [3, 4, 4, 2]}, "one per hidden neuron"),
        ({"kind": "power", "widths": [3, 4, 2], "exponent": 3}, "one per hidden neuron"),
        *(
            ({"kind": kind, "widths": [3, 4, 2], "bias": True}, "0")
            for kind in ("gelu", "silu", "tanh", "sigmoid", "softplus")
        ),
        ({"kind": "swiglu", "widths": [4, 3, 3]}, "one per neuron"),
        ({"kind": "geglu", "widths": [4, 3, 3]}, "one per neuron"),
        ({"kind": "reglu", "widths": [4, 3, 3]}, "two per neuron"),
        ({"kind": "bilinear", "widths": [4, 3, 3]}, "two per neuron"),
    ],
    "Convolutions": [
        ({"kind": "convolution", "channels": [2, 3, 2]}, "one per hidden channel"),
        (
            {"kind": "convolution", "channels": [2, 3, 2], "dimension_of_images": "2", "size": 3},
            "one per hidden channel",
        ),
        (
            {"kind": "convolution", "channels": [2, 3, 2, 3, 2], "residual": True, "bias": True},
            "one per hidden channel of a branch",
        ),
        (
            {"kind": "convolution", "channels": [2, 3, 4, 2], "pool": 2},
            "one per hidden channel",
        ),
    ],
    "Attention, t = e(e+1)/2 for heads of dimension e": [
        (_ATTENTION, "2t per head"),
        ({**_ATTENTION, "heads": 2}, "2t per head"),
        ({**_ATTENTION, "heads": 2, "kv_heads": 1}, "2t per key-value head"),
        ({**_ATTENTION, "causal": True}, "2t"),
        ({**_ATTENTION, "position": "sinusoidal"}, "2t"),
        ({**_ATTENTION, "position": "alibi", "heads": 2, "causal": True}, "2t per head"),
        ({**_ATTENTION, "position": "t5"}, "2t + 1 per head: the sum of its distance biases"),
        ({**_ATTENTION, "bias": True}, "2t + e per head: the key bias itself"),
        ({**_ATTENTION, "sink": True}, "2t"),
        ({**_ATTENTION, "sink": True, "bias": True}, "2t: the key bias is no longer frozen"),
        ({**_ATTENTION, "qk_norm": True}, "t + 2 + e: norms of Q and K, each pair of gains"),
        (_ROTARY, "t + e/2: one per rotation plane"),
        ({**_ROTARY, "pairing": "halves"}, "t + e/2"),
        ({**_ROTARY, "frequencies": [1, 1]}, "t + m^2 for m planes that rotate alike"),
        ({**_ROTARY, "frequencies": [1, 0]}, "t + 1 + k(k+1)/2, k = 2 dimensions at rest"),
        ({**_ROTARY, "frequencies": [1, 0], "bias": True}, "and k: key biases at rest"),
        ({**_ROTARY, "heads": 2, "kv_heads": 1}, "t + e/2 per key-value head"),
        (
            {**_ROTARY, "heads": 2, "kv_heads": 1, "qk_norm": True},
            "t + norms of each Q and K + one pair of gains per plane",
        ),
        ({**_ATTENTION, "score": "sigmoid"}, "2t"),
        ({**_ATTENTION, "score": "relu", "heads": 2}, "2t + 1 per head: |Q|^2 - |O|^2"),
        ({**_ATTENTION, "score": "linear", "heads": 2}, "2t + 1 per head: |Q|^2 - |O|^2"),
        (
            {**_ATTENTION, "score": "linear", "heads": 2, "kv_heads": 1},
            "2t + G(G+1)/2 for G heads that share keys: <Q_h, Q_k> - <O_h, O_k>",
        ),
    ],
    "Mixtures of experts on d inputs; SwiGLU experts have one law per neuron": [
        (_MOE, "d: the sum of the gate rows"),
        ({**_MOE, "top_k": 2}, "d"),
        ({**_MOE, "top_k": 1}, "all gate rows: the only weight is 1"),
        ({**_MOE, "gate": "switch", "top_k": 1}, "d"),
        ({**_MOE, "gate": "sigmoid"}, "0"),
        ({**_MOE, "gate": "normalised-sigmoid"}, "0"),
        ({**_MOE, "gate": "normalised-sigmoid", "top_k": 2}, "0"),
        ({**_MOE, "gate": "relu", "top_k": 2}, "one per expert: |R_i|^2 - |A_i|^2"),
        ({**_MOE, "gate": "linear", "top_k": 2}, "one per expert: |R_i|^2 - |A_i|^2"),
        ({**_MOE, "gate": "cosine", "top_k": 2}, "one per expert: |R_i|^2"),
        ({**_MOE, "expert": "two-layer"}, "d + r(r+1)/2 per expert"),
        ({**_MOE, "expert": "relu"}, "d + one per neuron"),
        ({**_MOE, "expert": "gelu"}, "d"),
    ],
    "Norms between two matrices U and W": [
        ({"kind": "norm", "norm": "layer"}, "gains + column sums of U + |U|^2"),
        ({"kind": "norm", "norm": "layer", "eps": True}, "gains + column sums of U"),
        ({"kind": "norm", "norm": "rms"}, "gains + |U|^2"),
        ({"kind": "norm", "norm": "rms", "eps": True}, "gains"),
    ],
    "Whole transformers": [
        ({"kind": "gpt2"}, _LISTED),
        ({"kind": "gpt2", "tied": False}, _LISTED),
        ({"kind": "gpt2", "eps": False}, "and one: the scale of the residual stream"),
        (
            {"kind": "gpt2", "layers": 2, "tokens": 2, "width": 3, "heads": 1},
            _LISTED,
        ),
        ({"kind": "llama"}, _LISTED),
        ({"kind": "llama", "tied": False, "kv_heads": 1}, _LISTED),
        ({"kind": "llama", "eps": False}, "and one: the scale of the residual stream"),
        ({"kind": "llama", "layers": 2, "tokens": 2}, _LISTED),
        ({"kind": "llama", "kv_heads": 1, "qk_norm": True}, "with eps, Q and K have no norms"),
        ({"kind": "llama", "kv_heads": 1, "experts": 3, "top_k": 2, "hidden": 3}, _LISTED),
        (
            {
                "kind": "transformer",
                "norm": "layer",
                "position": "rotary",
                "bias": True,
                "heads": 1,
                "frequencies": [1, 0],
                "tied": False,
            },
            _LISTED,
        ),
    ],
}


@dataclass(frozen=True)
class Row:
    """One architecture of the table."""

    section: str
    settings: dict[str, Any]
    note: str
    count: Count

    def to_table(self) -> dict[str, Any]:
        return {"section": self.section, "note": self.note, **self.count.to_table()}


def count_all() -> list[Row]:
    """Count every architecture of `SECTIONS`."""
    return [
        Row(section, settings, note, count(parse_architecture(settings)))
        for section, entries in SECTIONS.items()
        for settings, note in entries
    ]


def as_markdown(rows: list[Row]) -> str:
    """The table as a page of Markdown."""
    return "\n".join(_lines(rows)) + "\n"


def _lines(rows: list[Row]) -> Iterator[str]:
    yield "# Counts of conservation laws"
    yield ""
    yield "Written by `dmft conservation table -o docs/conservation-table.md --overwrite`; what the"
    yield "columns mean is in [conservation.md](conservation.md). Certainty names what is assumed:"
    yield "*patterns* and *selections* of rectifiers and maxima all occur, *formal* transcendental"
    yield "functions are independent, constants are *generic*. The lower levels of transformers are"
    yield "those of the sequences that were used, and may be larger."
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            yield ""
            yield f"## {section}"
            yield ""
            yield (
                "| architecture | D | trace dimensions | laws | explained | certainty"
                " | in general |"
            )
            yield "| --- | --- | --- | --- | --- | --- | --- |"
        result = row.count
        levels = ", ".join(map(str, result.trace_dimensions))
        note = row.note.replace("|", "\\|")
        yield (
            f"| {_settings(row.settings)} | {result.parameters} | {levels} | {result.laws}"
            f" | {result.certificate.lower_bound} | {_certainty(result)} | {note} |"
        )


def _certainty(result: Count) -> str:
    """'exact' or 'upper bound', with what it assumes."""
    names = {PATTERNS: "patterns", SELECTIONS: "selections", FORMAL: "formal", CONSTANTS: "generic"}
    made = [names[text] for text in names if text in result.certificate.assumptions]
    word = "exact" if result.certificate.exact else "upper bound"
    return f"{word}, {' + '.join(made)}" if made else word


def _settings(settings: dict[str, Any]) -> str:
    """Settings as the command line writes them."""
    words = [settings["kind"]]
    for key, value in settings.items():
        option = "--" + key.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is False:
            words.append(option.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words.append(f"{option} {','.join(map(str, value))}")
        elif key != "kind":
            words.append(f"{option} {value}")
    return f"`{' '.join(words)}`"
