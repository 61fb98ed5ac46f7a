"""Small models of all kinds: layers of torch.nn, blocks of networks, and traps."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch.nn.utils.parametrize")
nn = torch.nn
F = torch.nn.functional
parametrize = torch.nn.utils.parametrize
L, Conv, Conv2 = nn.Linear, nn.Conv1d, nn.Conv2d


class Net(nn.Module):
    """Parts, and a function of them and the input."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, *x):
        return self.function(self, *x)


def P(*shape):
    return nn.Parameter(torch.randn(*shape))


def stack(*layers):
    return nn.Sequential(*layers)


class Norm(nn.Module):
    """A layer norm by hand."""

    def __init__(self, width):
        super().__init__()
        self.g, self.b = P(width), P(width)

    def forward(self, x):
        y = x - x.mean(-1, keepdim=True)
        return y / torch.sqrt(y.square().mean(-1, keepdim=True) + 1e-5) * self.g + self.b


class Symmetric(nn.Module):
    """A parametrisation that uses the upper triangle."""

    def forward(self, w):
        return w.triu() + w.triu(1).transpose(-1, -2)


def parametrised(function):
    net = stack(L(3, 3), nn.ReLU(), L(3, 2))
    function(net[0])
    return net


def pruned():
    from torch.nn.utils import prune

    return parametrised(lambda layer: prune.random_unstructured(layer, "weight", amount=4))


def squeeze(m, x):
    h = F.relu(m.a(x))
    return m.b(h * torch.sigmoid(m.d(F.relu(m.c(h.mean((2, 3))))))[..., None, None])


def mamba(m, x):
    """A selective scan with diagonal states, as in Mamba."""
    u, gate = m.inner(x).chunk(2, -1)
    u = F.silu(m.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
    low, b, c = m.select(u).split([1, 2, 2], -1)
    step = F.softplus(m.step(low))
    decay, state, outputs = -torch.exp(m.log_a), u.new_zeros(len(u), 2, 2), []
    for t in range(x.shape[1]):
        grown = torch.exp(step[:, t, :, None] * decay)
        state = grown * state + (step[:, t] * u[:, t])[..., None] * b[:, t, None]
        outputs.append((state * c[:, t, None]).sum(-1) + m.skip * u[:, t])
    return m.outer(torch.stack(outputs, 1) * F.silu(gate))


def unet(m, x):
    down = F.relu(m.n1(m.a(x)))
    low = F.relu(m.n2(m.b(F.max_pool2d(down, 2))))
    return m.d(F.relu(m.c(torch.cat([F.interpolate(low, scale_factor=2), down], 1))))


def recurrent(kind, **options):
    return Net(lambda m, x: m.b(m.a(x)[0][:, -1]), a=kind(2, 2, batch_first=True, **options),
               b=L(2, 2))  # fmt: skip


def attention(**options):
    return Net(lambda m, x: m.a(x, x, x, need_weights=False)[0],
               a=nn.MultiheadAttention(4, 2, batch_first=True, **options))  # fmt: skip


def two(function, inner=4, **parts):
    return Net(function, a=L(3, inner), b=L(parts.pop("outer", inner), 2), **parts)


def rows(n=7, d=3):
    return lambda: (torch.randn(n, d).double(),)


def tokens(d=4, t=3, n=2):
    return lambda: (torch.randn(n, t, d).double(),)


def signal(c=2, t=5, n=3):
    return lambda: (torch.randn(n, c, t).double(),)


def image(c=2, s=4, n=3):
    return lambda: (torch.randn(n, c, s, s).double(),)


def words():
    return (torch.randint(5, (6, 4)),)


R = rows()
# name: model, inputs, number of laws, number of quantities beyond them that `discover` finds
GALLERY: dict[str, tuple[Callable, Callable, int, int]] = {
    # --- gates
    "glu": (lambda: stack(L(3, 8), nn.GLU(), L(4, 2)), R, 4, 0),
    "swiglu": (lambda: two(lambda m, x: m.b(F.silu((h := m.a(x))[:, :4]) * h[:, 4:]), 8, outer=4),
               R, 4, 0),
    "reglu": (lambda: two(lambda m, x: m.b(F.relu((h := m.a(x))[:, :4]) * h[:, 4:]), 8, outer=4),
              R, 8, 0),
    "film": (lambda: two(lambda m, x: m.b(m.a(x) * m.g(x) + m.s(x)), g=L(3, 4), s=L(3, 4)),
             R, 8, 0),
    "triple": (lambda: two(lambda m, x: m.b(m.a(x) * m.g(x) * m.c(x)), 3, g=L(3, 3), c=L(3, 3)),
               R, 9, 0),
    "highway": (lambda: Net(lambda m, x: torch.lerp(x, F.relu(m.a(x)), torch.sigmoid(m.t(x))),
                            t=L(3, 3), a=L(3, 3)), R, 0, 0),
    "squeeze-excitation": (lambda: Net(squeeze, a=Conv2(2, 4, 1), b=Conv2(4, 2, 1), c=L(4, 2),
                                       d=L(2, 4)), image(), 6, 0),
    "mixture": (lambda: Net(lambda m, x: (torch.stack([m.a(x), m.b(x)], -1)
                                          * m.g(x).softmax(-1)[:, None]).sum(-1), a=L(3, 2),
                            b=L(3, 2), g=L(3, 2)), R, 4, 0),
    "stopped gate": (lambda: two(lambda m, x: m.b(m.a(x) * m.g(x).detach()), g=L(3, 4)), R, 20, 0),
    # --- nonlinearities
    "PReLU": (lambda: stack(L(3, 4), nn.PReLU(4), L(4, 2)), R, 4, 0),
    "maxout": (lambda: two(lambda m, x: m.b(m.a(x).view(-1, 3, 2).amax(-1)), 6, outer=3), R, 3, 0),
    "winner takes all": (lambda: two(lambda m, x: m.b(
        ((h := m.a(x).view(-1, 3, 2)) * (h == h.amax(-1, keepdim=True))).view(-1, 6)), 6), R, 6, 0),
    "both signs": (lambda: two(lambda m, x: m.b(torch.cat([(h := m.a(x)).relu(), (-h).relu()], -1)),
                               3, outer=6), R, 3, 0),
    "cube": (lambda: two(lambda m, x: m.b(F.relu(m.a(x)) ** 3)), R, 4, 0),
    "root": (lambda: two(lambda m, x: m.b(m.a(x).abs().sqrt())), R, 4, 0),
    "threshold": (lambda: stack(L(3, 4), nn.Threshold(0.1, 0), L(4, 2)), R, 4, 0),
    "hard tanh": (lambda: stack(L(3, 4), nn.Hardtanh(), L(4, 2)), R, 0, 0),
    "soft shrink": (lambda: stack(L(3, 4), nn.Softshrink(), L(4, 2)), R, 0, 0),
    "tanh shrink": (lambda: stack(L(3, 4), nn.Tanhshrink(), L(4, 2)), R, 0, 0),
    "quotient": (lambda: Net(lambda m, x: m.a(x) / m.c(x), a=L(3, 2), c=L(3, 1)), R, 1, 0),
    "largest": (lambda: two(lambda m, x: m.b(m.a(x).topk(2, -1).values), outer=2), R, 1, 0),
    # Where all units are compared, a shift of all alike is one more symmetry.
    "sorted": (lambda: two(lambda m, x: m.b(m.a(x).sort(-1).values)), R, 1, 1),
    "softmax between": (lambda: two(lambda m, x: m.b(m.a(x).softmax(-1))), R, 6, 0),
    "logarithm": (lambda: stack(L(3, 4), nn.ReLU(), L(4, 3), nn.LogSoftmax(-1)), R, 9, 0),
    # --- products of weights
    "bilinear": (lambda: Net(lambda m, x: m.b(m.a(m.c(x), m.d(x))), a=nn.Bilinear(2, 2, 2),
                             b=L(2, 2), c=L(3, 2), d=L(3, 2)), R, 9, 0),
    # Of the same input twice, the antisymmetric part is not seen.
    "bilinear in one": (lambda: Net(lambda m, x: m.b(m.a(x, x)), a=nn.Bilinear(3, 3, 2), b=L(2, 2)),
                        R, 3, 6),
    "symmetric sum": (lambda: Net(lambda m, x: x @ (m.w + m.w.T), w=P(3, 3)), R, 0, 3),
    "low rank": (lambda: two(lambda m, x: m.b(F.relu(m.a(x) + x @ m.d.T @ m.u.T)), d=P(2, 3),
                             u=P(4, 2)), R, 7, 0),
    "low rank alone": (lambda: Net(lambda m, x: x @ (m.w + m.u @ m.d).T, w=P(2, 3), d=P(2, 3),
                                   u=P(2, 2)), R, 3, 0),
    "tensor train": (lambda: Net(lambda m, x: torch.einsum(
        "nab,ar,rbo->no", x.view(-1, 2, 2), m.u, m.v), u=P(2, 2), v=P(2, 2, 3)), rows(7, 4), 3, 0),
    "Tucker": (lambda: Net(lambda m, x: torch.einsum("ni,ir,rs,os->no", x, m.u, m.c, m.v),
                           u=P(3, 2), c=P(2, 2), v=P(2, 2)), R, 6, 0),
    "Kronecker": (lambda: Net(lambda m, x: x @ torch.kron(m.u, m.v), u=P(2, 2), v=P(2, 2)),
                  rows(7, 4), 1, 0),
    "entry by entry": (lambda: Net(lambda m, x: x @ (m.u * m.v), u=P(3, 3), v=P(3, 3)), R, 5, 0),
    "difference of squares": (lambda: Net(lambda m, x: x @ (m.u * m.u - m.v * m.v), u=P(3, 2),
                                          v=P(3, 2)), R, 0, 0),
    "square of a matrix": (lambda: Net(lambda m, x: x @ m.w @ m.w, w=P(3, 3)), R, 0, 0),
    "tied": (lambda: Net(lambda m, x: F.linear(F.relu(m.a(x)), m.a.weight.T), a=L(3, 4)), R, 0, 0),
    "pruned": (pruned, R, 7, 0),
    "parametrised": (lambda: parametrised(
        lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric())), R, 4, 0),
    "centred weights": (lambda: Net(lambda m, x: m.b(F.relu(F.linear(
        x, (m.w - m.w.mean(1, keepdim=True)) / m.w.std(1, keepdim=True)))), w=P(4, 3), b=L(4, 2)),
        R, 8, 0),
    # --- norms
    "batch norm": (lambda: stack(Conv(2, 3, 2), nn.BatchNorm1d(3), nn.ReLU(), Conv(3, 2, 1)),
                   signal(), 6, 0),
    "instance norm": (lambda: stack(Conv(2, 3, 2), nn.InstanceNorm1d(3, affine=True), nn.ReLU(),
                                    Conv(3, 2, 1)), signal(), 6, 0),
    "group norm": (lambda: stack(Conv(2, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(), Conv(4, 2, 1)),
                   signal(), 6, 0),
    "layer norm by hand": (lambda: stack(L(3, 4), Norm(4), L(4, 2)), R, 8, 0),
    "after norm": (lambda: Net(lambda m, x: m.n(x + m.b(F.relu(m.a(x)))), a=L(4, 3), b=L(3, 4),
                               n=nn.LayerNorm(4)), tokens(), 7, 0),
    "before norm": (lambda: Net(lambda m, x: m.h(m.n2((y := m.e(x)) + m.b(F.relu(m.a(m.n(y)))))),
                                e=L(3, 4), a=L(4, 3), b=L(3, 4), n=nn.LayerNorm(4),
                                n2=nn.LayerNorm(4), h=L(4, 2)), tokens(3), 19, 0),
    "layer scale": (lambda: Net(lambda m, x: x + m.g * m.b(F.relu(m.a(x))), a=L(3, 4), b=L(4, 3),
                                g=P(3)), R, 7, 0),
    # --- convolutions
    "grouped": (lambda: stack(Conv2(2, 4, 1), nn.ReLU(), Conv2(4, 4, 2, groups=2), nn.ReLU(),
                              Conv2(4, 2, 1)), image(), 8, 0),
    "grouped linear": (lambda: stack(Conv(2, 4, 1), Conv(4, 4, 2, groups=2), Conv(4, 2, 1)),
                       signal(), 12, 0),
    "grouped backwards": (lambda: stack(Conv(2, 4, 1), nn.ReLU(), nn.ConvTranspose1d(
        4, 4, 2, groups=2), nn.ReLU(), Conv(4, 2, 1)), signal(), 8, 0),
    "separable": (lambda: stack(Conv(2, 3, 1), nn.ReLU(), Conv(3, 3, 2, groups=3), Conv(3, 2, 1)),
                  signal(), 6, 0),
    "shuffled places": (lambda: stack(Conv2(2, 4, 1), nn.ReLU(), nn.PixelShuffle(2),
                              Conv2(1, 2, 2)), image(), 1, 0),
    "shuffled channels": (lambda: stack(Conv2(2, 4, 1), nn.ReLU(), nn.ChannelShuffle(2),
                                        Conv2(4, 2, 1)), image(), 4, 0),
    "windows": (lambda: Net(lambda m, x: m.b(F.unfold(F.relu(m.a(x)), 2).transpose(1, 2)),
                            a=Conv2(2, 3, 1), b=L(12, 2)), image(), 3, 0),
    "folded": (lambda: Net(lambda m, x: m.b(F.fold(F.relu(m.a(x)).transpose(1, 2), (3, 3), 2)),
                           a=L(3, 8), b=Conv2(2, 2, 1)), tokens(3, 4), 2, 0),
    "U-Net": (lambda: Net(unet, a=Conv2(1, 2, 1), n1=nn.GroupNorm(1, 2), b=Conv2(2, 2, 1),
                          n2=nn.GroupNorm(2, 2), c=Conv2(4, 2, 1), d=Conv2(2, 1, 1)), image(1),
              9, 0),
    # --- words
    "embedding": (lambda: Net(lambda m, x: m.b(m.e(x).mean(1)), e=nn.Embedding(5, 3), b=L(3, 2)),
                  words, 6, 0),
    "bag": (lambda: Net(lambda m, x: m.b(m.e(x)), e=nn.EmbeddingBag(5, 3), b=L(3, 2)), words, 6, 0),
    "padding": (lambda: Net(lambda m, x: m.b(m.e(x).mean(1)), e=nn.Embedding(5, 3, padding_idx=0),
                            b=L(3, 2)), words, 3, 0),
    "positions": (lambda: Net(lambda m, x: m.b((m.e(x) + m.g(torch.arange(4))).tanh()),
                              e=nn.Embedding(5, 3), g=nn.Embedding(4, 3), b=L(3, 2)), words, 3, 0),
    # --- sequences
    "RNN": (lambda: recurrent(nn.RNN), tokens(2), 2, 0),
    "RNN with ReLU": (lambda: recurrent(nn.RNN, nonlinearity="relu"), tokens(2), 4, 0),
    "LSTM": (lambda: recurrent(nn.LSTM), tokens(2), 8, 0),
    "GRU": (lambda: recurrent(nn.GRU), tokens(2), 4, 0),
    "selective scan": (lambda: Net(mamba, inner=L(2, 4, False),
                                   conv=Conv(2, 2, 2, padding=1, groups=2),
                                   select=L(2, 5, False), step=L(1, 2), log_a=P(2, 2),
                                   skip=P(2), outer=L(2, 2, False)), tokens(2), 6, 0),
    # --- attention
    "attention": (attention, tokens(), 16, 0),
    "attention with memory": (lambda: attention(add_bias_kv=True), tokens(), 16, 0),
    "attention without softmax": (lambda: Net(
        lambda m, x: m.q(x) @ (m.k(x).transpose(1, 2) @ m.v(x)), q=L(3, 2), k=L(3, 2), v=L(3, 2)),
        tokens(3), 4, 0),
    "queries are keys": (lambda: Net(
        lambda m, x: (m.q(x) @ m.q(x).transpose(1, 2)).softmax(-1) @ m.v(x), q=L(3, 2), v=L(3, 2)),
        tokens(3), 0, 0),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 4, 0.0, batch_first=True), tokens(),
                30, 0),
    "encoder before": (lambda: nn.TransformerEncoderLayer(
        4, 2, 4, 0.0, batch_first=True, norm_first=True), tokens(), 29, 0),
    "decoder": (lambda: Net(lambda m, x: m.d(x, x * 2), d=nn.TransformerDecoderLayer(
        4, 2, 4, 0.0, batch_first=True)), tokens(), 51, 0),
    "mixer": (lambda: Net(lambda m, x: m.b(F.relu(m.a(x.transpose(1, 2)))).transpose(1, 2) + x,
                          a=L(3, 2), b=L(2, 3)), tokens(2), 2, 0),
    # --- what is not used, and what is shared
    "unused half": (lambda: two(lambda m, x: m.b(F.relu(m.a(x)[:, :2])), outer=2), R, 10, 0),
    "two biases": (lambda: two(lambda m, x: m.b(torch.tanh(m.a(x) + m.c + m.d)), c=P(4), d=P(1)),
                   R, 5, 0),
    "shared": (lambda: Net(lambda m, x: m.b(m.c(F.relu(m.c(F.relu(m.a(x)))))), a=L(3, 3), c=L(3, 3),
                           b=L(3, 2)), R, 3, 0),
    "branches": (lambda: Net(lambda m, x: m.b(m.a(x)) - m.d(m.c(x)), a=L(3, 3), b=L(3, 2),
                             c=L(3, 3), d=L(3, 2)), R, 14, 0),
    "two outputs": (lambda: two(lambda m, x: {"p": m.b(h := F.relu(m.a(x))), "q": m.c(h)},
                                c=L(4, 1)), R, 4, 0),
}  # fmt: skip
