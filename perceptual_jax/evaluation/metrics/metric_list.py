"""The metrics of `evaluate`: names, units, directions, and what each needs.

Metrics that compare with the original do so at one size, 256 px of the shorter side unless told
otherwise; those without an original see the picture at its own size (`scores`).
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from perceptual_jax.checkpoints.onnx import is_installed
from perceptual_jax.errors import UsageError


class Metric(NamedTuple):
    """What is known of a metric beside its value."""

    name: str
    unit: str
    """Empty if it has none."""
    lower_is_better: bool
    needs: Literal["picture", "original", "degraded", "originals", "styles"]
    """What it looks at beside the restored picture; `originals` is a distance of whole sets, and
    `styles` are those of a job's result."""
    measure: str | None
    """The network or parameters that it needs, by the name of `weights list`, or `rankiqa`."""
    about: str
    label: str = ""
    """How tables call it, where that is not its name."""

    @property
    def shown(self) -> str:
        """How tables call it."""
        return self.label or self.name


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "dB", False, "original", None, "Peak signal-to-noise ratio"),
        Metric("ssim", "", False, "original", None, "Structural similarity"),
        Metric("ms_ssim", "", False, "original", None, "Multi-scale structural similarity"),
        Metric("lpips_alex", "", True, "original", "lpips-alex", "LPIPS 0.1 with AlexNet"),
        Metric("lpips_vgg", "", True, "original", "lpips-vgg", "LPIPS 0.1 with VGG16"),
        Metric("identity", "", True, "original", "sface", "Distance of SFace's descriptors"),
        Metric("landmarks", "%", True, "original", "onet", "Landmarks' distance, of the eyes'"),
        Metric("niqe", "", True, "picture", "niqe", "NIQE"),
        Metric("brisque", "", True, "picture", "brisque", "BRISQUE"),
        Metric("rankiqa", "", True, "picture", "rankiqa", "RankIQA, mean of 100 patches"),
        Metric("rankiqa_median", "", True, "picture", "rankiqa", "RankIQA, median of 100 patches"),
        Metric("rankiqa_256", "", True, "picture", "rankiqa", "rankiqa, resized to 256 px first"),
        Metric("rankiqa_256_median", "", True, "picture", "rankiqa", "Likewise, the median"),
        Metric(
            "rank_vgg",
            "",
            True,
            "picture",
            "lpips-vgg",
            "Ranking-trained score of VGG16's features, mean of patches; not RankIQA",
            "rank-vgg (ours)",
        ),
        Metric(
            "rank_vgg_median",
            "",
            True,
            "picture",
            "lpips-vgg",
            "Likewise, the median",
            "rank-vgg (ours), median",
        ),
        Metric(
            "rank_vgg_256",
            "",
            True,
            "picture",
            "lpips-vgg",
            "rank-vgg (ours), resized to 256 px first",
            "rank-vgg (ours), 256 px",
        ),
        Metric(
            "rank_vgg_256_median",
            "",
            True,
            "picture",
            "lpips-vgg",
            "Likewise, the median",
            "rank-vgg (ours), 256 px, median",
        ),
        Metric("consistency", "dB", False, "degraded", None, "PSNR to the degraded picture"),
        Metric("kid_alex", "", True, "originals", "lpips-alex", "As KID, on AlexNet's features"),
        Metric("fid_alex", "", True, "originals", "lpips-alex", "As FID, on AlexNet's features"),
        Metric("kid_vgg", "", True, "originals", "lpips-vgg", "As KID, on VGG16's features"),
        Metric("fid_vgg", "", True, "originals", "lpips-vgg", "As FID, on VGG16's features"),
        Metric("mmd2", "", True, "styles", None, "Discrepancy of styles and prior, Eq. 7"),
        Metric("mmd2_p", "", False, "styles", None, "Its permutation p-value"),
    )
}
"""All metrics by name."""

USUAL = (
    "psnr",
    "ssim",
    "ms_ssim",
    "lpips_alex",
    "identity",
    "landmarks",
    "niqe",
    "brisque",
    "consistency",
    "kid_alex",
    "fid_alex",
    "mmd2",
    "mmd2_p",
)
"""The metrics that are computed unless others are named; `identity` and `landmarks` only with
onnxruntime."""

BY_ONNXRUNTIME = ("identity", "landmarks")
"""The metrics that onnxruntime computes."""

RANKIQA = ("rankiqa", "rankiqa_median", "rankiqa_256", "rankiqa_256_median")
"""Those of the paper's Table 2, in its order; their weights are a file of the user's."""

RANK_VGG = ("rank_vgg", "rank_vgg_median", "rank_vgg_256", "rank_vgg_256_median")
"""The same columns by `rank-vgg (ours)`, which needs no file; computed only where they are named,
since 20 passes of a VGG16 for each picture are slow without an accelerator."""


def usual_metrics() -> tuple[str, ...]:
    """Those of `USUAL` that can be computed here."""
    return tuple(name for name in USUAL if name not in BY_ONNXRUNTIME or is_installed())


def check_metrics(metrics: Sequence[str]) -> None:
    """Checks that metrics are known.

    Raises:
        UsageError: If one is not; the message lists those that are.
    """
    for name in metrics:
        if name not in METRICS:
            raise UsageError(f"unknown metric {name!r}; the known ones are {', '.join(METRICS)}")
