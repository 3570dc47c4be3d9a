"""Weights that other people have published: where they are, and what is known of them.

`minincep download NAME` fetches them; nothing else does.
"""

from dataclasses import dataclass

from minincep.models.preprocessing import (
    CADENE,
    FACENET_2017,
    FACENET_2018,
    KENTSOMMER,
    KERAS,
    SLIM,
    TIMM_V2,
    TIMM_V4,
    Preprocessing,
)


@dataclass(frozen=True)
class Published:
    """Weights on the web.

    Attributes
    ----------
    origin
        Who trained or converted them, on what.
    url
        Of the file, or of an archive that has it.
    megabytes
        About how large it is; one of more than twice the size is refused.
    license
        To our knowledge; what the publisher says counts.
    preprocessing
        How the publisher evaluated them.
    digest
        "sha256:" or "md5:" and digits, if they are published: the first eight at least.
    members
        Names, without folders, of what is needed of an archive; the first is what is converted.
    background
        What becomes of the class of the background, if they have one.
    """

    origin: str
    url: str
    megabytes: int
    license: str
    preprocessing: Preprocessing
    digest: str | None = None
    members: tuple[str, ...] = ()
    background: str | None = None


_HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"  # it tells the sha256
_LIP6 = "http://data.lip6.fr/cadene/pretrainedmodels/"  # digests in the names, as in torch.hub
_TENSORFLOW = "https://storage.googleapis.com/download.tensorflow.org/models/"
_GITHUB = "https://github.com/"

CATALOGUE = {
    "inception_v4": Published(
        "timm, from TF-slim; ImageNet",
        _HUB.format("inception_v4.tf_in1k"),
        171,
        "Apache-2.0",
        TIMM_V4,
    ),
    "inception_v4_cadene": Published(
        "Cadene, from TF-slim; ImageNet",
        f"{_LIP6}inceptionv4-8e4777a0.pth",
        171,
        "BSD-3-Clause",
        CADENE,
        digest="sha256:8e4777a0",
        background="drop",
    ),
    "inception_v4_slim": Published(
        "TF-slim, 2016-09-09; ImageNet",
        f"{_TENSORFLOW}inception_v4_2016_09_09.tar.gz",
        171,
        "Apache-2.0",
        SLIM,
        members=("inception_v4.ckpt",),
        background="drop",
    ),
    "inception_v4_kentsommer": Published(
        "kentsommer, Keras, from TF-slim; ImageNet",
        f"{_GITHUB}kentsommer/keras-inceptionV4/releases/download/2.1/"
        "inception-v4_weights_tf_dim_ordering_tf_kernels.h5",
        171,
        "not stated; TF-slim's are Apache-2.0",
        KENTSOMMER,
        digest="md5:9fe79d77f793fe874470d84ca6ba4a3b",  # in its inception_v4.py
        background="drop",
    ),
    "inception_resnet_v2": Published(
        "timm, from TF-slim; ImageNet",
        _HUB.format("inception_resnet_v2.tf_in1k"),
        224,
        "Apache-2.0",
        TIMM_V2,
    ),
    "inception_resnet_v2_ens_adv": Published(
        "timm, from TensorFlow; ImageNet, ensemble adversarial training",
        _HUB.format("inception_resnet_v2.tf_ens_adv_in1k"),
        224,
        "Apache-2.0",
        TIMM_V2,
    ),
    "inception_resnet_v2_keras": Published(
        "keras.applications, from TF-slim; ImageNet",
        "https://storage.googleapis.com/tensorflow/keras-applications/inception_resnet_v2/"
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
        225,
        "Apache-2.0",
        KERAS,
        digest="md5:e693bd0210a403b3192acc6073ad2e96",  # in its inception_resnet_v2.py
    ),
    "inception_resnet_v2_cadene": Published(
        "Cadene, from TF-slim; ImageNet",
        f"{_LIP6}inceptionresnetv2-520b38e4.pth",
        224,
        "BSD-3-Clause",
        CADENE,
        digest="sha256:520b38e4",
        background="drop",
    ),
    "inception_resnet_v2_slim": Published(
        "TF-slim, 2016-08-30; ImageNet",
        f"{_TENSORFLOW}inception_resnet_v2_2016_08_30.tar.gz",
        220,
        "Apache-2.0",
        SLIM,
        digest="md5:9e0f18e1259acf943e30690460d96123",  # in yuyang-huang's extract_weights.py
        members=("inception_resnet_v2_2016_08_30.ckpt",),
        background="drop",
    ),
    "inception_resnet_v1": Published(
        "facenet-pytorch, from facenet 20180402-114759; VGGFace2",
        f"{_GITHUB}timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
        112,
        "MIT",
        FACENET_2018,
        # By several of its users, who agree.
        digest="sha256:281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    "inception_resnet_v1_casia": Published(
        "facenet-pytorch, from facenet 20180408-102900; CASIA-WebFace",
        f"{_GITHUB}timesler/facenet-pytorch/releases/download/v2.2.9/"
        "20180408-102900-casia-webface.pt",
        116,
        "MIT",
        FACENET_2018,
    ),
    # The digests of these two are in keras_facenet/metadata.py of the same repository.
    "inception_resnet_v1_2017_casia": Published(
        "facenet 20170511-185253, 128 numbers; CASIA-WebFace",
        f"{_GITHUB}faustomorales/keras-facenet/releases/download/v0.3.1/20170511-185253.zip",
        180,
        "MIT",
        FACENET_2017,
        digest="sha256:0dd66caa1e9b7a7c91424bca150a66da193c4e626e75bfa50ff406180a09c7e9",
        members=(
            "model-20170511-185253.ckpt-80000.index",
            "model-20170511-185253.ckpt-80000.data-00000-of-00001",
        ),
    ),
    "inception_resnet_v1_2017_ms_celeb": Published(
        "facenet 20170512-110547, 128 numbers; MS-Celeb-1M",
        f"{_GITHUB}faustomorales/keras-facenet/releases/download/v0.3.1/20170512-110547.zip",
        180,
        "MIT",
        FACENET_2017,
        digest="sha256:24a020c3d7794a590d834c4963f8a7c59819b8950a54fcb08e10b2a253ab0a30",
        members=(
            "model-20170512-110547.ckpt-250000.index",
            "model-20170512-110547.ckpt-250000.data-00000-of-00001",
        ),
    ),
}
