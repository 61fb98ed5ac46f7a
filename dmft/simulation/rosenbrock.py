"""Rodas5P: an L-stable, stiffly accurate Rosenbrock method of order 5 with dense output.

Coefficients of G. Steinebach, "Construction of Rosenbrock-Wanner method Rodas5P and numerical
benchmarks within the Julia Differential Equations package", BIT Numer. Math. 63, 27 (2023), in
the transformed form that needs no product with the Jacobian J. Stage i of z' = F(z, t) solves

    (1/(GAMMA h) - J) k_i = F(z + sum_j STATE[i,j] k_j, t + TIME[i] h)
                            + (1/h) sum_j COUPLING[i,j] k_j + h SLOPE[i] dF/dt,

the step ends at z + sum_j STATE[7,j] k_j + k_7, and k_7 itself is the difference to the embedded
solution of order 4, the error estimate.
"""

from __future__ import annotations

import numpy as np

STAGES = 8
ORDER = 5
GAMMA = 0.21193756319429014

TIME = np.array(
    [0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664]
    + [1.0] * 3
)
SLOPE = np.array(
    [GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069]
    + [0.0] * 3
)


def _lower(*rows: list[float]) -> np.ndarray:
    matrix = np.zeros((STAGES, STAGES))
    for i, row in enumerate(rows):
        matrix[i, : len(row)] = row
    return matrix


_LAST = [
    -7.502846399306121,
    2.561846144803919,
    -11.627539656261098,
    -0.18268767659942256,
    0.030198172008377946,
]
STATE = _lower(
    [],
    [3.0],
    [2.849394379747939, 0.45842242204463923],
    [-6.954028509809101, 2.489845061869568, -10.358996098473584],
    [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
    _LAST,
    [*_LAST, 1.0],
    [*_LAST, 1.0, 1.0],
)
COUPLING = _lower(
    [],
    [-14.155112264123755],
    [-17.97296035885952, -2.859693295451294],
    [147.12150275711716, -1.41221402718213, 71.68940251302358],
    [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
    [
        24.854864614690072,
        -3.0009227002832186,
        47.4931110020768,
        5.5814197821558125,
        -0.6610691825249471,
    ],
    [
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ],
    [
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ],
)
_DENSE = np.array(
    [
        [
            25.948786856663858,
            -2.5579724845846235,
            10.433815404888879,
            -2.3679251022685204,
            0.524948541321073,
            1.1241088310450404,
            0.4272876194431874,
            -0.17202221070155493,
        ],
        [
            -9.91568850695171,
            -0.9689944594115154,
            3.0438037242978453,
            -24.495224566215796,
            20.176138334709044,
            15.98066361424651,
            -6.789040303419874,
            -6.710236069923372,
        ],
        [
            11.419903575922262,
            2.8879645146136994,
            72.92137995996029,
            80.12511834622643,
            -52.072871366152654,
            -59.78993625266729,
            -0.15582684282751913,
            4.883087185713722,
        ],
    ]
)


def end_weights() -> np.ndarray:
    """Weights of the stages in the increment over one whole step, shape (STAGES,)."""
    weights = STATE[-1].copy()
    weights[-1] = 1.0
    return weights


def dense_weights(fraction: float) -> np.ndarray:
    """Weights of the stages in the increment over `fraction` of a step, shape (STAGES,).

    The interpolant has order 4, that of the error estimate, on the whole step.
    """
    inner = _DENSE[0] + fraction * (_DENSE[1] + fraction * _DENSE[2])
    return fraction * (end_weights() + (1.0 - fraction) * inner)
