"""ISTVT written down once more, literally and slowly, to hold the product against.

In: the authors' state dict as numpy arrays and uint8 windows. Out: logits. Everything is float64
numpy in plain loops, transcribed from the paper's equations (Zhao et al., ISTVT, IEEE TIFS 2023);
nothing is shared with `istvt/`. The names are the authors', so a comparison also proves the
importer's mapping. Self-subtraction acts on the normalised tokens, before the projection.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, Array]

EPSILON = 1e-5  # of every batch and layer norm


def logits(state: State, windows: NDArray[np.uint8], *, num_heads: int) -> Array:
    """Score windows `(batch, T, S, S, 3)` uint8: `(batch,)`."""
    result = np.zeros(len(windows))
    for b, window in enumerate(windows):
        faces = [np.transpose((face / 255.0 - 0.5) / 0.5, (2, 0, 1)) for face in window]
        features = [entry_flow(state, face) for face in faces]
        tokens = with_class_tokens(state, features)
        result[b] = head(state, transformer(state, tokens, num_heads=num_heads))
    return result


# --- encoder: the Xception entry flow, one face (3, S, S) at a time ---


def entry_flow(state: State, face: Array) -> Array:
    """Return `(C, h, w)`."""
    root = "xcep.model"
    x = convolution(face, state[f"{root}.conv1.weight"], stride=2)
    x = relu(batch_norm(state, f"{root}.bn1", x))
    x = convolution(x, state[f"{root}.conv2.weight"], stride=1)
    x = relu(batch_norm(state, f"{root}.bn2", x))
    x = xception_block(state, f"{root}.block1", x, first=0, starts_with_relu=False)
    x = xception_block(state, f"{root}.block2", x, first=1, starts_with_relu=True)
    return xception_block(state, f"{root}.block3", x, first=1, starts_with_relu=True)


def xception_block(
    state: State, name: str, x: Array, *, first: int, starts_with_relu: bool
) -> Array:
    skip = convolution(x, state[f"{name}.skip.weight"], stride=2)
    skip = batch_norm(state, f"{name}.skipbn", skip)
    y = relu(x) if starts_with_relu else x
    y = separable(state, f"{name}.rep.{first}", y)
    y = relu(batch_norm(state, f"{name}.rep.{first + 1}", y))
    y = separable(state, f"{name}.rep.{first + 3}", y)
    y = batch_norm(state, f"{name}.rep.{first + 4}", y)
    return max_pool(y) + skip


def separable(state: State, name: str, x: Array) -> Array:
    depthwise = state[f"{name}.conv1.weight"]  # (C, 1, 3, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros_like(x)
    for c in range(len(x)):
        y[c] = convolution(padded[c : c + 1], depthwise[c : c + 1], stride=1)[0]
    return convolution(y, state[f"{name}.pointwise.weight"], stride=1)


def convolution(x: Array, weight: Array, *, stride: int) -> Array:
    """Correlate `(C_in, H, W)` with `(C_out, C_in, k, k)`, without padding."""
    _, height, width = x.shape
    k = weight.shape[-1]
    rows, columns = (height - k) // stride + 1, (width - k) // stride + 1
    y = np.zeros((len(weight), rows, columns))
    for i in range(k):
        for j in range(k):
            seen = x[:, i : i + stride * (rows - 1) + 1 : stride, :]
            seen = seen[:, :, j : j + stride * (columns - 1) + 1 : stride]
            y += np.tensordot(weight[:, :, i, j], seen, axes=(1, 0))
    return y


def batch_norm(state: State, name: str, x: Array) -> Array:
    y = np.zeros_like(x)
    for c in range(len(x)):
        centred = x[c] - state[f"{name}.running_mean"][c]
        scaled = centred / math.sqrt(state[f"{name}.running_var"][c] + EPSILON)
        y[c] = scaled * state[f"{name}.weight"][c] + state[f"{name}.bias"][c]
    return y


def max_pool(x: Array) -> Array:
    """3x3, stride 2, padded by one with minus infinity."""
    channels, height, width = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = (height - 1) // 2 + 1, (width - 1) // 2 + 1
    y = np.zeros((channels, rows, columns))
    for r in range(rows):
        for c in range(columns):
            y[:, r, c] = padded[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max(axis=(1, 2))
    return y


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


# --- tokens of one window ---


def with_class_tokens(state: State, features: list[Array]) -> Array:
    """Return `(T + 1, h * w + 1, C)`."""
    space_token, temporal_token = state["vit.space_token"], state["vit.temporal_token"]
    position = state["vit.pos_embedding"]
    rows = [np.repeat(temporal_token[0], position.shape[2], axis=0)]
    for t, feature in enumerate(features):
        channels, height, width = feature.shape
        frame = [space_token[0, 0]]
        for r in range(height):
            for c in range(width):
                frame.append(feature[:, r, c])
        assert np.shape(frame) == (height * width + 1, channels)
        rows.append(np.array(frame) + position[0, t])
    return np.array(rows)


# --- transformer, one window's tokens (T + 1, N, C) at a time ---


def transformer(state: State, x: Array, *, num_heads: int) -> Array:
    depth = 0
    while f"vit.transformer.layers.{depth}.0.norm.weight" in state:
        name = f"vit.transformer.layers.{depth}"
        y = temporal_attention(state, name, layer_norm(state, f"{name}.0.norm", x), num_heads)
        y = spatial_attention(state, name, layer_norm(state, f"{name}.1.norm", y), num_heads)
        x = y + x
        x = feed_forward(state, name, layer_norm(state, f"{name}.2.norm", x)) + x
        depth += 1
    assert depth > 0
    return layer_norm(state, "vit.transformer.norm", x)


def temporal_attention(state: State, name: str, x: Array, num_heads: int) -> Array:
    """Attend along time, every column for itself; queries and keys see the differences."""
    w_q, w_k = np.split(state[f"{name}.0.fn.to_qk.weight"], 2)
    w_v = state[f"{name}.0.fn.to_v.weight"]
    difference = np.zeros_like(x)
    difference[0] = x[0]
    difference[1] = x[1]
    for i in range(2, len(x)):
        difference[i] = x[i] - x[i - 1]
    y = np.zeros_like(x)
    for n in range(x.shape[1]):
        q, k, v = difference[:, n] @ w_q.T, difference[:, n] @ w_k.T, x[:, n] @ w_v.T
        y[:, n] = linear(state, f"{name}.0.fn.to_out.0", multi_head(q, k, v, num_heads))
    return y


def spatial_attention(state: State, name: str, x: Array, num_heads: int) -> Array:
    """Attend within each row."""
    w_q, w_k, w_v = np.split(state[f"{name}.1.fn.to_qkv.weight"], 3)
    y = np.zeros_like(x)
    for t in range(len(x)):
        q, k, v = x[t] @ w_q.T, x[t] @ w_k.T, x[t] @ w_v.T
        y[t] = linear(state, f"{name}.1.fn.to_out.0", multi_head(q, k, v, num_heads))
    return y


def multi_head(q: Array, k: Array, v: Array, num_heads: int) -> Array:
    """Scaled dot-product attention on `(L, heads * head_dim)`, heads contiguous."""
    head_dim = q.shape[1] // num_heads
    outputs = []
    for h in range(num_heads):
        part = slice(h * head_dim, (h + 1) * head_dim)
        weights = softmax(q[:, part] @ k[:, part].T / math.sqrt(head_dim))
        outputs.append(weights @ v[:, part])
    return np.concatenate(outputs, axis=1)


def feed_forward(state: State, name: str, x: Array) -> Array:
    return linear(state, f"{name}.2.fn.net.3", gelu(linear(state, f"{name}.2.fn.net.0", x)))


def head(state: State, x: Array) -> float:
    token = layer_norm(state, "vit.mlp_head.0", x[0, 0])
    return float(linear(state, "vit.mlp_head.1", token)[0])


def linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer_norm(state: State, name: str, x: Array) -> Array:
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    normal = (x - mean) / np.sqrt(variance + EPSILON)
    return normal * state[f"{name}.weight"] + state[f"{name}.bias"]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x: Array) -> Array:
    erf = np.array([math.erf(value) for value in (x / math.sqrt(2.0)).ravel()])
    return 0.5 * x * (1.0 + erf.reshape(x.shape))
