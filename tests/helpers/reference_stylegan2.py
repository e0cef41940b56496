"""StyleGAN2 in slow numpy float64, on arrays in the layout of NVIDIA's PyTorch checkpoints.

Written from the definition and in another form than the library: every sample has its own
modulated and demodulated weights, a transposed convolution scatters, and the resampling filter is
a two-dimensional convolution of a zero-stuffed array. Arrays are [channels h w].
"""

import numpy as np

LR_MULTIPLIER = 0.01


def make_checkpoint(
    rng, channels, *, z_dim=8, w_dim=6, c_dim=0, layers=3, noise=0.7, bias=0.3
) -> dict[str, np.ndarray]:
    """Random arrays under NVIDIA's names, with noise strengths and biases that matter."""
    ckpt = {"mapping.w_avg": rng.normal(size=w_dim)}
    if c_dim:
        ckpt["mapping.embed.weight"] = rng.normal(size=(w_dim, c_dim))
        ckpt["mapping.embed.bias"] = bias * rng.normal(size=w_dim)
    for i in range(layers):
        fan_in = w_dim if i else z_dim + (w_dim if c_dim else 0)
        ckpt[f"mapping.fc{i}.weight"] = rng.normal(size=(w_dim, fan_in)) / LR_MULTIPLIER
        ckpt[f"mapping.fc{i}.bias"] = bias * rng.normal(size=w_dim) / LR_MULTIPLIER

    def affine(name, fan_out):
        ckpt[f"{name}.affine.weight"] = rng.normal(size=(fan_out, w_dim))
        ckpt[f"{name}.affine.bias"] = 1.0 + bias * rng.normal(size=fan_out)

    ckpt["synthesis.b4.const"] = rng.normal(size=(channels[0], 4, 4))
    before = channels[0]
    for k, c in enumerate(channels):
        r = 4 * 2**k
        for name, fan_in in (("conv0", before), ("conv1", c)):
            name = f"synthesis.b{r}.{name}"
            if r == 4 and name.endswith("conv0"):
                continue
            ckpt[f"{name}.weight"] = rng.normal(size=(c, fan_in, 3, 3))
            ckpt[f"{name}.bias"] = bias * rng.normal(size=c)
            ckpt[f"{name}.noise_const"] = rng.normal(size=(r, r))
            ckpt[f"{name}.noise_strength"] = np.array(noise * rng.normal())
            affine(name, fan_in)
        ckpt[f"synthesis.b{r}.torgb.weight"] = rng.normal(size=(3, c, 1, 1))
        ckpt[f"synthesis.b{r}.torgb.bias"] = bias * rng.normal(size=3)
        affine(f"synthesis.b{r}.torgb", c)
        before = c
    return ckpt


def mapping(ckpt, z, label=None):
    x = _normalize(z)
    if label is not None:
        embed = ckpt["mapping.embed.weight"] / np.sqrt(label.size)
        x = np.concatenate([x, _normalize(embed @ label + ckpt["mapping.embed.bias"])])
    for i in range(sum(name.startswith("mapping.fc") for name in ckpt) // 2):
        weight = ckpt[f"mapping.fc{i}.weight"] * LR_MULTIPLIER / np.sqrt(x.size)
        y = weight @ x + ckpt[f"mapping.fc{i}.bias"] * LR_MULTIPLIER
        x = _leaky_relu(y) * np.sqrt(2)
    return x


def truncate(ws, w_avg, psi):
    return w_avg + psi * (ws - w_avg)


def synthesis(ckpt, ws, noise, *, clamp=np.inf, last=None, taps=(1, 3, 3, 1)):
    """Image [h w 3]; `noise` is one map per layer, `last` a resolution to stop at.

    `taps` is the resampling filter, or "bilinear" for a network that interpolates before a plain
    convolution.
    """
    x, image = ckpt["synthesis.b4.const"], None
    maps, r, i = iter(noise), 4, 0
    while f"synthesis.b{r}.torgb.weight" in ckpt and r <= (last or r):
        block = f"synthesis.b{r}"
        if r > 4:
            x = _layer(ckpt, f"{block}.conv0", x, ws[i], next(maps), clamp, up=True, taps=taps)
            i += 1
        x = _layer(ckpt, f"{block}.conv1", x, ws[i], next(maps), clamp, up=False)
        i += 1
        rgb = _to_rgb(ckpt, f"{block}.torgb", x, ws[i], clamp)
        image = rgb if image is None else rgb + upsample(image, taps)
        r *= 2
    return image.transpose(1, 2, 0)


def transposed_conv(x, weight):
    """Stride 2: pixel (a, b) adds its multiple of the kernel at (2a, 2b). -> [o 2h+1 2w+1]."""
    _, h, w = x.shape
    y = np.zeros((weight.shape[0], 2 * h + 1, 2 * w + 1))
    for a in range(h):
        for b in range(w):
            y[:, 2 * a : 2 * a + 3, 2 * b : 2 * b + 3] += np.einsum(
                "i,oikl->okl", x[:, a, b], weight
            )
    return y


def conv(x, weight):
    """Correlation with one zero around the input."""
    _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    y = np.zeros((weight.shape[0], h, w))
    for a in range(h):
        for b in range(w):
            y[:, a, b] = np.einsum("ikl,oikl->o", padded[:, a : a + 3, b : b + 3], weight)
    return y


def up_conv(x, weight, taps=(1, 3, 3, 1)):
    if taps == "bilinear":
        return conv(upsample(x, taps), weight)
    n = len(taps)
    return _filter(transposed_conv(x, weight), ((n + 1) // 2 - 1, (n - 2) // 2), taps)


def upsample(image, taps=(1, 3, 3, 1)):
    c, h, w = image.shape
    if taps == "bilinear":
        rows, columns = (np.clip((np.arange(2 * n) - 0.5) / 2, 0, n - 1) for n in (h, w))
        image = np.stack([_at(image, row, axis=1) for row in rows], axis=1)
        return np.stack([_at(image, column, axis=2) for column in columns], axis=2)
    stuffed = np.zeros((c, 2 * h, 2 * w))
    stuffed[:, ::2, ::2] = image
    return _filter(stuffed, ((len(taps) + 1) // 2, (len(taps) - 2) // 2), taps)


def _at(x, position, *, axis):
    """The values at a position between two pixels."""
    first = min(int(position), x.shape[axis] - 2)
    share = position - first
    return (1 - share) * x.take(first, axis) + share * x.take(first + 1, axis)


def modulated(weight, style):
    """The kernel of one sample, of unit norm for every output channel."""
    weight = weight * style[None, :, None, None]
    return weight / np.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)


def _layer(ckpt, name, x, w, noise, clamp, *, up, taps=None):
    weight = modulated(ckpt[f"{name}.weight"], _style(ckpt, name, w))
    x = up_conv(x, weight, taps) if up else conv(x, weight)
    x = x + noise * ckpt[f"{name}.noise_strength"]
    x = x + ckpt[f"{name}.bias"][:, None, None]
    return np.clip(_leaky_relu(x) * np.sqrt(2), -clamp, clamp)


def _to_rgb(ckpt, name, x, w, clamp):
    weight = ckpt[f"{name}.weight"][:, :, 0, 0]
    style = _style(ckpt, name, w) / np.sqrt(weight.shape[1])
    rgb = np.einsum("oi,ihw->ohw", weight * style, x) + ckpt[f"{name}.bias"][:, None, None]
    return np.clip(rgb, -clamp, clamp)


def _style(ckpt, name, w):
    return ckpt[f"{name}.affine.weight"] / np.sqrt(w.size) @ w + ckpt[f"{name}.affine.bias"]


def _filter(x, padding, taps):
    """Convolution with the filter, with gain 4, of x padded by (before, after); -1 removes one."""
    taps, n = np.asarray(taps, float), len(taps)
    kernel = np.outer(taps, taps)[::-1, ::-1] / taps.sum() ** 2
    x = np.pad(x, ((0, 0), *[tuple(max(p, 0) for p in padding)] * 2))
    x = x[:, : -1 if padding[1] < 0 else None, : -1 if padding[1] < 0 else None]
    _, h, w = x.shape
    y = np.zeros((x.shape[0], h - n + 1, w - n + 1))
    for a in range(h - n + 1):
        for b in range(w - n + 1):
            y[:, a, b] = 4.0 * (x[:, a : a + n, b : b + n] * kernel).sum(axis=(1, 2))
    return y


def _normalize(x):
    return x / np.sqrt((x**2).mean() + 1e-8)


def _leaky_relu(x):
    return np.maximum(x, 0.2 * x)
