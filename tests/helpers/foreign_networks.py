"""A narrow StyleGAN2 with random weights: NVIDIA's torch arrays, and as others name them."""

import itertools

import numpy as np

RESOLUTIONS = (4, 8, 16)
CHANNELS = {4: 6, 8: 5, 16: 4}
Z, W = 7, 6
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def nvidia_arrays(*, c_dim=0, seed=0, const=(4, 4), colours=3):
    """The state dict of NVIDIA's generator, with noise, a mean of W and filters as buffers.

    `const` is the size of the constant input, and so the shape of all images.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    arrays = {"mapping.w_avg": normal(W)}
    if c_dim:
        arrays |= {"mapping.embed.weight": normal(W, c_dim), "mapping.embed.bias": normal(W)}
    for i in range(2):
        first = Z + (W if c_dim else 0)
        arrays[f"mapping.fc{i}.weight"] = normal(W, W if i else first) * 100
        arrays[f"mapping.fc{i}.bias"] = normal(W) * 10
    arrays["synthesis.b4.const"] = normal(CHANNELS[4], *const)
    before = CHANNELS[4]
    for r in RESOLUTIONS:
        c, block = CHANNELS[r], f"synthesis.b{r}"
        arrays[f"{block}.resample_filter"] = FILTER
        for conv, fan_in in (("conv0", before), ("conv1", c))[r == 4 :]:
            layer = f"{block}.{conv}"
            arrays[f"{layer}.weight"] = normal(c, fan_in, 3, 3)
            arrays[f"{layer}.bias"] = normal(c)
            arrays[f"{layer}.noise_const"] = normal(r * const[0] // 4, r * const[1] // 4)
            arrays[f"{layer}.noise_strength"] = np.float32(rng.normal())[()].reshape(())
            arrays[f"{layer}.resample_filter"] = FILTER
            arrays[f"{layer}.affine.weight"] = normal(fan_in, W)
            arrays[f"{layer}.affine.bias"] = 1 + normal(fan_in)
        arrays[f"{block}.torgb.weight"] = normal(colours, c, 1, 1)
        arrays[f"{block}.torgb.bias"] = normal(colours)
        arrays[f"{block}.torgb.affine.weight"] = normal(c, W)
        arrays[f"{block}.torgb.affine.bias"] = 1 + normal(c)
        before = c
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def _layers():
    """Name in NVIDIA's torch files, in TensorFlow's, in rosinality's, number of the noise map."""
    yield "b4.conv1", "4x4/Conv", "conv1", 0
    for i, r in enumerate(RESOLUTIONS[1:]):
        yield f"b{r}.conv0", f"{r}x{r}/Conv0_up", f"convs.{2 * i}", 2 * i + 1
        yield f"b{r}.conv1", f"{r}x{r}/Conv1", f"convs.{2 * i + 1}", 2 * i + 2


def _colours():
    yield "b4.torgb", "4x4/ToRGB", "to_rgb1"
    for i, r in enumerate(RESOLUTIONS[1:]):
        yield f"b{r}.torgb", f"{r}x{r}/ToRGB", f"to_rgbs.{i}"


def tensorflow_arrays(nvidia):
    """The same network as NVIDIA's TensorFlow code stores it."""
    arrays = {"dlatent_avg": nvidia["mapping.w_avg"], "lod": np.zeros((), np.float32)}
    for name, value in nvidia.items():
        if name.startswith(("mapping.fc", "mapping.embed")):
            _, layer, array = name.split(".")
            layer = "LabelEmbed" if layer == "embed" else f"Dense{layer[2:]}"
            arrays[f"mapping/{layer}/{array}"] = value.T.copy()
    arrays["synthesis/4x4/Const/const"] = nvidia["synthesis.b4.const"][None]
    for ours, theirs, *_ in [*_layers(), *_colours()]:
        layer, out = f"synthesis.{ours}", f"synthesis/{theirs}"
        kernel = nvidia[f"{layer}.weight"].transpose(2, 3, 1, 0)
        arrays[f"{out}/weight"] = (kernel[::-1, ::-1] if "conv0" in ours else kernel).copy()
        arrays[f"{out}/bias"] = nvidia[f"{layer}.bias"]
        arrays[f"{out}/mod_weight"] = nvidia[f"{layer}.affine.weight"].T.copy()
        arrays[f"{out}/mod_bias"] = nvidia[f"{layer}.affine.bias"] - np.float32(1)
    for ours, theirs, _, n in _layers():
        arrays[f"synthesis/{theirs}/noise_strength"] = nvidia[f"synthesis.{ours}.noise_strength"]
        arrays[f"synthesis/noise{n}"] = nvidia[f"synthesis.{ours}.noise_const"][None, None]
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def rosinality_arrays(nvidia):
    """The same network as rosinality's code stores it, without the mean of W."""
    arrays = {"input.input": nvidia["synthesis.b4.const"][None]}
    for i in range(2):
        arrays[f"style.{i + 1}.weight"] = nvidia[f"mapping.fc{i}.weight"]
        arrays[f"style.{i + 1}.bias"] = nvidia[f"mapping.fc{i}.bias"]
    for ours, _, theirs, *n in [*_layers(), *_colours()]:
        layer = f"synthesis.{ours}"
        arrays[f"{theirs}.conv.weight"] = nvidia[f"{layer}.weight"][None]
        arrays[f"{theirs}.conv.modulation.weight"] = nvidia[f"{layer}.affine.weight"]
        arrays[f"{theirs}.conv.modulation.bias"] = nvidia[f"{layer}.affine.bias"]
        if n:
            arrays[f"{theirs}.activate.bias"] = nvidia[f"{layer}.bias"]
            arrays[f"{theirs}.noise.weight"] = nvidia[f"{layer}.noise_strength"].reshape(1)
            arrays[f"noises.noise_{n[0]}"] = nvidia[f"{layer}.noise_const"][None, None]
        else:
            arrays[f"{theirs}.bias"] = nvidia[f"{layer}.bias"].reshape(1, -1, 1, 1)
    for i in range(0, 4, 2):
        arrays[f"convs.{i}.conv.blur.kernel"] = 4 * FILTER
    return arrays


def basicsr_arrays(nvidia):
    """The same network as BasicSR's and GFPGAN's code stores it."""
    arrays = {}
    for name, value in rosinality_arrays(nvidia).items():
        if name.endswith("blur.kernel"):
            continue
        new = name.replace("style.", "style_mlp.").replace("input.input", "constant_input.weight")
        new = new.replace("convs.", "style_convs.").replace("noises.noise_", "noises.noise")
        new = new.replace("conv1.", "style_conv1.") if new.startswith("conv1.") else new
        head, dot, rest = new.partition(".conv.")
        new = f"{head}.modulated_conv.{rest}" if dot else new
        arrays[new.replace(".noise.weight", ".weight")] = value
    return arrays


def clean_arrays(nvidia):
    """The same weights as GFPGAN's clean layout stores them: gains multiplied in.

    The network is another one, since it interpolates where the others filter.
    """
    arrays, root = {}, np.sqrt(2)
    for name, value in basicsr_arrays(nvidia).items():
        fan_in = np.prod(value.shape[2 if value.ndim == 5 else 1 :])
        if name.startswith("style_mlp."):
            _, number, part = name.split(".")
            name = f"style_mlp.{2 * int(number) - 1}.{part}"
            value = value * 0.01 * root / (np.sqrt(fan_in) if part == "weight" else 1)
        elif name.endswith(("modulation.weight", "modulated_conv.weight")):
            value = value / np.sqrt(fan_in)
        elif name.endswith("activate.bias"):
            name, value = name.replace("activate.", ""), (value * root).reshape(1, -1, 1, 1)
        elif name.startswith("style_conv") and name.count(".") < 3 and name.endswith(".weight"):
            value = value * root  # the strength of the noise
        arrays[name] = np.asarray(value, np.float32)
    return arrays


def flaxmodels_arrays(nvidia):
    """The same network as flaxmodels' HDF5 files store it."""
    arrays, theirs = {}, tensorflow_arrays(nvidia)
    for name, value in theirs.items():
        if name == "dlatent_avg":
            arrays["mapping_network/w_avg"] = value
        elif name.startswith("mapping/"):
            layer = name.replace("LabelEmbed", "label_embedding").replace("Dense", "fc")
            arrays[layer.replace("mapping/", "mapping_network/")] = value
        elif name.endswith("Const/const"):
            arrays["synthesis_network/const"] = value.transpose(0, 2, 3, 1)
    blocks = [(4, "layer0", "4x4/Conv", 0)]
    for i, r in enumerate(RESOLUTIONS[1:]):
        blocks.append((r, "layer0", f"{r}x{r}/Conv0_up", 2 * i + 1))
        blocks.append((r, "layer1", f"{r}x{r}/Conv1", 2 * i + 2))
    blocks += [(r, "torgb", f"{r}x{r}/ToRGB", None) for r in RESOLUTIONS]
    for r, layer, place, noise in blocks:
        out, source = f"synthesis_network/block_{r}x{r}/{layer}", f"synthesis/{place}"
        arrays[f"{out}/conv/weight"] = theirs[f"{source}/weight"]
        arrays[f"{out}/conv/bias"] = theirs[f"{source}/bias"]
        arrays[f"{out}/affine/weight"] = theirs[f"{source}/mod_weight"]
        arrays[f"{out}/affine/bias"] = theirs[f"{source}/mod_bias"]
        if noise is not None:
            arrays[f"{out}/noise_strength"] = theirs[f"{source}/noise_strength"]
            arrays[f"{out}/noise_const"] = theirs[f"synthesis/noise{noise}"].reshape(1, r, r, 1)
    return arrays


def mobilestylegan_arrays(*, w=6, channels=(8, 8, 4), seed=0):
    """The state dict of a MobileStyleGAN's training, narrow: mapping and student."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def modulation(name, c):
        return {f"{name}.modulation.weight": normal(c, w), f"{name}.modulation.bias": normal(c)}

    def layer(name, c_in, c_out, *, full=False):
        arrays = modulation(f"{name}.conv", c_in)
        arrays[f"{name}.conv.style_inv"] = normal(1, 1, c_in, 1, 1)
        if full:
            arrays[f"{name}.conv.weight"] = normal(c_out, c_in, 3, 3)
        else:
            arrays[f"{name}.conv.weight_dw"] = normal(c_in, 1, 3, 3)
            arrays[f"{name}.conv.weight_permute"] = normal(c_out, c_in, 1, 1)
        return arrays | {f"{name}.noise.weight": normal(1), f"{name}.bias": normal(1, c_out, 1, 1)}

    arrays = {"style_mean": normal(1, w)}
    for i in range(1, 3):
        arrays[f"mapping_net.layers.{i}.weight"] = normal(w, w) * 100
        arrays[f"mapping_net.layers.{i}.bias"] = normal(w) * 10
    arrays["student.input.input"] = normal(1, channels[0], 4, 4)
    arrays |= layer("student.conv1", channels[0], channels[0], full=True)
    for i, (before, c) in enumerate(itertools.pairwise(channels)):
        name = f"student.layers.{i}"
        arrays |= modulation(f"{name}.up", before)
        arrays |= layer(f"{name}.conv1", before // 4, c) | layer(f"{name}.conv2", c, c)
        arrays |= modulation(f"{name}.to_img.conv", c)
        arrays[f"{name}.to_img.conv.weight"] = normal(12, c, 1, 1)
        arrays[f"{name}.to_img.bias"] = normal(1, 12, 1, 1)
    return arrays
