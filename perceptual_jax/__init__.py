"""Restores degraded faces by searching the latent space of a face generator, in JAX.

Names are imported when they are first used, so that `import perceptual_jax` and the help of the
command line do not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from perceptual_jax.checkpoints.load import load_generator as load_generator
    from perceptual_jax.config import ConfigError as ConfigError
    from perceptual_jax.config import RestoreConfig as RestoreConfig
    from perceptual_jax.config import load_config as load_config
    from perceptual_jax.config import to_toml as to_toml
    from perceptual_jax.degradation.corruptions import degrade as degrade
    from perceptual_jax.degradation.jpeg import read_header as read_header
    from perceptual_jax.degradation.resampling import downscale as downscale
    from perceptual_jax.errors import Error as Error
    from perceptual_jax.errors import UsageError as UsageError
    from perceptual_jax.evaluation.sheet import contact_sheet as contact_sheet
    from perceptual_jax.generator.mobilestylegan import MobileStyleGAN as MobileStyleGAN
    from perceptual_jax.generator.stylegan2 import StyleGAN2 as StyleGAN2
    from perceptual_jax.io.images import read_image as read_image
    from perceptual_jax.io.images import to_float as to_float
    from perceptual_jax.io.images import to_uint8 as to_uint8
    from perceptual_jax.jobs.degrade import degrade_files as degrade_files
    from perceptual_jax.jobs.generate import generate_files as generate_files
    from perceptual_jax.jobs.generate import sample_image as sample_image
    from perceptual_jax.jobs.index import write_index as write_index
    from perceptual_jax.jobs.job import restore_files as restore_files
    from perceptual_jax.jobs.plan import JobOptions as JobOptions
    from perceptual_jax.likelihood.inspection import inspect_picture as inspect_picture
    from perceptual_jax.likelihood.likelihood import Likelihood as Likelihood
    from perceptual_jax.likelihood.models import load_model as load_model
    from perceptual_jax.likelihood.sampling import sample_degraded as sample_degraded
    from perceptual_jax.prior.geodesic import cross_loss as cross_loss
    from perceptual_jax.prior.mmd import PriorBank as PriorBank
    from perceptual_jax.prior.mmd import make_prior_bank as make_prior_bank
    from perceptual_jax.prior.mmd import mmd2 as mmd2
    from perceptual_jax.prior.prior import Prior as Prior
    from perceptual_jax.prior.prior import make_prior as make_prior
    from perceptual_jax.prior.sphere import project_to_sphere as project_to_sphere
    from perceptual_jax.restoration.batch import Progress as Progress
    from perceptual_jax.restoration.batch import run_batch as run_batch
    from perceptual_jax.restoration.downscale import DownscaleL2 as DownscaleL2
    from perceptual_jax.restoration.downscale import consistency_psnr as consistency_psnr
    from perceptual_jax.restoration.objective import Stage as Stage
    from perceptual_jax.restoration.objective import objective as objective
    from perceptual_jax.restoration.optimizer import SphericalAdam as SphericalAdam
    from perceptual_jax.restoration.presets import build_search as build_search
    from perceptual_jax.restoration.presets import default_prior as default_prior
    from perceptual_jax.restoration.presets import restore_batch as restore_batch
    from perceptual_jax.restoration.search import Search as Search
    from perceptual_jax.restoration.search import Snapshot as Snapshot
    from perceptual_jax.restoration.search import run as run
    from perceptual_jax.restoration.start import PriorStart as PriorStart
    from perceptual_jax.types import DataTerm as DataTerm
    from perceptual_jax.types import Generator as Generator
    from perceptual_jax.types import Given as Given
    from perceptual_jax.types import JpegHeader as JpegHeader
    from perceptual_jax.types import Latents as Latents
    from perceptual_jax.types import Restoration as Restoration
    from perceptual_jax.types import SearchState as SearchState
    from perceptual_jax.types import Status as Status

_MODULES = {
    "checkpoints.load": ("load_generator",),
    "config": ("ConfigError", "RestoreConfig", "load_config", "to_toml"),
    "degradation.corruptions": ("degrade",),
    "degradation.jpeg": ("read_header",),
    "degradation.resampling": ("downscale",),
    "errors": ("Error", "UsageError"),
    "evaluation.sheet": ("contact_sheet",),
    "generator.mobilestylegan": ("MobileStyleGAN",),
    "generator.stylegan2": ("StyleGAN2",),
    "io.images": ("read_image", "to_float", "to_uint8"),
    "jobs.degrade": ("degrade_files",),
    "jobs.generate": ("generate_files", "sample_image"),
    "jobs.index": ("write_index",),
    "jobs.job": ("restore_files",),
    "jobs.plan": ("JobOptions",),
    "likelihood.inspection": ("inspect_picture",),
    "likelihood.likelihood": ("Likelihood",),
    "likelihood.models": ("load_model",),
    "likelihood.sampling": ("sample_degraded",),
    "prior.geodesic": ("cross_loss",),
    "prior.mmd": ("PriorBank", "make_prior_bank", "mmd2"),
    "prior.prior": ("Prior", "make_prior"),
    "prior.sphere": ("project_to_sphere",),
    "restoration.batch": ("Progress", "run_batch"),
    "restoration.downscale": ("DownscaleL2", "consistency_psnr"),
    "restoration.objective": ("Stage", "objective"),
    "restoration.optimizer": ("SphericalAdam",),
    "restoration.presets": ("build_search", "default_prior", "restore_batch"),
    "restoration.search": ("Search", "Snapshot", "run"),
    "restoration.start": ("PriorStart",),
    "types": (
        "DataTerm",
        "Generator",
        "Given",
        "JpegHeader",
        "Latents",
        "Restoration",
        "SearchState",
        "Status",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]
