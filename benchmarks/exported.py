"""Cases that `exporters.py` exports: PyTorch's layers and functions, the families of torchvision and timm."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

SIDE, CHANNELS, CLASSES = 12, 4, 5
Layer = Callable[[torch.Tensor], torch.Tensor]


class Case(NamedTuple):
    """A network to be made, for images of some side."""

    name: str
    make: Callable[[], nn.Module]
    side: int


class Rows(nn.Module):
    """A layer of [N, L, E] in front of which images become rows; of several outputs the first.

    Recurrent layers, which exporters may unroll, get a few rows only.
    """

    def __init__(self, layer: Callable[..., Any]):
        super().__init__()
        self.layer, self.few = layer, isinstance(layer, nn.RNNBase)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer((x.mean(3) if self.few else x.flatten(2)).transpose(1, 2))
        first: torch.Tensor = y[0] if isinstance(y, tuple) else y
        return first


class Attention(nn.Module):
    """Rows that look at each other."""

    def __init__(self, layer: nn.MultiheadAttention):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x, x, x, need_weights=False)[0]
        return y


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Layer):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Classifier(nn.Module):
    """A layer between a convolution and a linear layer."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.layer = layer if isinstance(layer, nn.Module) else Function(layer)
        with torch.no_grad():
            width = self.layer.eval()(self.first(torch.zeros(2, 3, SIDE, SIDE))).flatten(1).shape[1]
        self.last = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.layer(self.first(x)).flatten(1))
        return y


class Transformer(nn.Module):
    """A spatial transformer: it learns where to look."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Linear(CHANNELS, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.where(x.mean((2, 3))).view(-1, 2, 3)
        grid = functional.affine_grid(theta, [x.shape[0], CHANNELS, SIDE, SIDE], align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)


def _written(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, 0, 2:5] = y[:, 1, :3] * 2
    y[..., 0] = 0.5
    return y


ACTIVATIONS = """
    ReLU ReLU6 LeakyReLU PReLU RReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Hardshrink Softshrink
    Tanhshrink Softplus Softsign Sigmoid LogSigmoid Tanh Threshold(0.1,0.2) GLU(1) Softmax(1) Softmin(1) LogSoftmax(1)
    Softmax2d GELU('tanh')
"""
LAYERS = """
    BatchNorm2d(4) SyncBatchNorm(4) GroupNorm(2,4) InstanceNorm2d(4) InstanceNorm2d(4,affine=True)
    InstanceNorm2d(4,track_running_stats=True) LayerNorm([4,12,12]) LayerNorm(12) RMSNorm(12) LocalResponseNorm(3)
    CrossMapLRN2d(3) Dropout Dropout2d AlphaDropout FeatureAlphaDropout Identity Flatten Unflatten(1,(2,2))
    Conv2d(4,6,3,stride=2) Conv2d(4,6,(1,5),stride=(1,2)) Conv2d(4,6,3,padding='same') Conv2d(4,8,3,groups=4)
    Conv2d(4,6,3,dilation=2) Conv2d(4,6,3,padding=1,padding_mode='reflect')
    Conv2d(4,6,3,padding=1,padding_mode='circular') Conv2d(4,6,3,padding=1,padding_mode='replicate')
    ConvTranspose2d(4,3,3,stride=2,output_padding=1) MaxPool2d(2) MaxPool2d(3,2,1) MaxPool2d(3,2,ceil_mode=True)
    MaxPool2d(2,dilation=2) MaxPool2d(12) MaxPool2d(9,1) AvgPool2d(2) AvgPool2d(3,2,1)
    AvgPool2d(3,2,1,count_include_pad=False) AvgPool2d(3,2,ceil_mode=True) AvgPool2d(2,divisor_override=3)
    AvgPool2d(12) LPPool2d(2,3) FractionalMaxPool2d(2,output_size=5) AdaptiveAvgPool2d(1) AdaptiveAvgPool2d(3)
    AdaptiveAvgPool2d(5) AdaptiveMaxPool2d(1) AdaptiveMaxPool2d(4) AdaptiveMaxPool2d(5) ZeroPad2d(2)
    ConstantPad2d(1,0.5) ReflectionPad2d(2) ReplicationPad2d(2) CircularPad2d(2) PixelShuffle(2) PixelUnshuffle(2)
    ChannelShuffle(2) Upsample(scale_factor=2) Upsample(size=(9,7)) Upsample(scale_factor=2,mode='bilinear')
    Upsample(size=17,mode='bilinear',align_corners=True) Upsample(scale_factor=1.5,mode='bicubic')
    Upsample(size=5,mode='bicubic') UpsamplingNearest2d(scale_factor=2) UpsamplingBilinear2d(scale_factor=2) Unfold(3)
"""
ROWS = """
    Linear(4,3) Bilinear(4,4,3) BatchNorm1d(144) Conv1d(144,3,3) MaxPool1d(2) AvgPool1d(2) AdaptiveAvgPool1d(3)
    AdaptiveMaxPool1d(1) Softmax(-1) RNN(4,3,batch_first=True) RNN(4,3,nonlinearity='relu',batch_first=True)
    GRU(4,3,batch_first=True,bidirectional=True) LSTM(4,3,num_layers=2,batch_first=True)
    LSTM(4,3,batch_first=True,bidirectional=True) MultiheadAttention(4,2,batch_first=True)
    TransformerEncoderLayer(4,2,8,batch_first=True) TransformerEncoderLayer(4,2,8,batch_first=True,norm_first=True)
"""
FUNCTIONS: dict[str, Layer] = {
    "interpolate(antialias)": lambda x: functional.interpolate(x, size=(7, 7), mode="bilinear", antialias=True),
    "interpolate(area)": lambda x: functional.interpolate(x, size=(6, 6), mode="area"),
    "interpolate(nearest-exact)": lambda x: functional.interpolate(x, size=(7, 9), mode="nearest-exact"),
    "normalize": lambda x: functional.normalize(x, dim=1),
    "cosine_similarity": lambda x: functional.cosine_similarity(x[:, :2], x[:, 2:]),
    "max_pool2d(whole)": lambda x: functional.max_pool2d(x, x.shape[2:]),
    "fold(unfold)": lambda x: functional.fold(functional.unfold(x, 3), (12, 12), 3),
    "max_unpool2d": lambda x: functional.max_unpool2d(*functional.max_pool2d(x, 2, return_indices=True), 2),
    "scaled_dot_product_attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(1), x),
    "scaled_dot_product_attention(causal)": lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
    "cumsum": lambda x: x.cumsum(1),
    "topk": lambda x: x.flatten(2).topk(5, -1).values,
    "sort": lambda x: x.flatten(2).sort(-1).values,
    "kthvalue": lambda x: x.flatten(2).kthvalue(7, -1).values,
    "max(dim)": lambda x: x.max(1).values,
    "amax": lambda x: x.amax((2, 3)),
    "aminmax": lambda x: torch.cat(x.aminmax(dim=1), 1),
    "prod": lambda x: x.prod(1),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=1),
    "mean, std": lambda x: torch.stack([x.mean((2, 3)), x.std((2, 3))], 1),
    "var, rsqrt": lambda x: x * torch.rsqrt(x.var((2, 3), keepdim=True) + 0.1),
    "chunk, cat": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "unbind, stack": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "roll": lambda x: x.roll((3, 2), (2, 3)),
    "flip, rot90": lambda x: x.flip(1) + x.rot90(1, (2, 3)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "einsum": lambda x: torch.einsum("nchw,nchv->ncwv", x, x),
    "cdist": lambda x: torch.cdist(x.flatten(2), x.flatten(2)[:, :2] + 1),
    "where": lambda x: torch.where(x > 0, x, x.exp()),
    "clamp": lambda x: x.clamp(-0.2, 0.3),
    "clamp(tensors)": lambda x: x.clamp(x.mean(1, keepdim=True), x.amax(1, keepdim=True)),
    "pow, sqrt": lambda x: (x.pow(2) + 0.1).sqrt(),
    "abs, sign, log1p": lambda x: x.sign() * x.abs().log1p(),
    "erf, expm1, floor, frac": lambda x: x.erf() + x.expm1() + x.floor() + x.frac(),
    "sin, cos, atan": lambda x: x.sin() + x.cos() + x.atan(),
    "atan2, hypot": lambda x: torch.atan2(x[:, 0], x[:, 1]) + torch.hypot(x[:, 2], x[:, 3]),
    "remainder, fmod": lambda x: x.remainder(0.3) + x.fmod(0.7),
    "minimum, lerp": lambda x: torch.minimum(x, x.flip(1)).lerp(x, 0.3),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "tril": lambda x: x.tril(),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.1),
    "gather": lambda x: x.gather(1, x.argsort(1)),
    "index_select": lambda x: x.index_select(1, torch.tensor([2, 0])),
    "indexed by lists": lambda x: x[:, :, [0, 1, 3], [1, 2, 0]],
    "written in place": _written,
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, x.argsort(1), x),
    "argmax, one_hot": lambda x: x * functional.one_hot(x.argmax(1), CHANNELS).movedim(-1, 1),
    "grid_sample(reflection)": lambda x: functional.grid_sample(
        x, x[:, :2].movedim(1, -1), padding_mode="reflection", align_corners=True
    ),
    "fft": lambda x: torch.fft.rfft2(x).abs(),
}
TORCHVISION = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5
    squeezenet1_1 swin_t swin_v2_t vgg11_bn vit_b_16 wide_resnet50_2
"""
SIDES = {
    "alexnet": 224,
    "inception_resnet_v2": 96,
    "inception_v3": 96,
    "inception_v4": 96,
    "maxvit_t": 224,
    "vgg11_bn": 224,
    "vit_b_16": 224,
}
TIMM = """
    bat_resnext26ts beit_base_patch16_224 cait_xxs24_224 coat_tiny coatnet_nano_rw_224 convit_tiny convmixer_768_32
    convnext_atto convnextv2_atto crossvit_tiny_240 cspresnet50 davit_tiny deit_tiny_patch16_224 densenet121 dla46_c
    dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_lite0 efficientvit_b0 efficientvit_m0
    eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_050 gmlp_s16_224
    halonet26t hardcorenas_a hgnet_tiny hiera_tiny_224 hrnet_w18_small inception_next_atto inception_resnet_v2
    inception_v4 lambda_resnet26t lcnet_035 levit_128s mambaout_femto maxvit_rmlp_pico_rw_256 mixer_s32_224
    mobilenetv3_small_050 mobilenetv4_conv_small mobileone_s0 mobilevit_xxs mobilevitv2_050 mvitv2_tiny nasnetalarge
    nest_tiny nextvit_small nfnet_l0 pit_ti_224 pnasnet5large poolformer_s12 pvt_v2_b0 rdnet_tiny regnetx_002
    repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s resmlp_12_224 resnest14d resnet10t resnetv2_50 rexnet_100
    selecsls42 semnasnet_050 sequencer2d_s seresnet33ts shvit_s1 skresnet18 starnet_s1 swiftformer_xs
    swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window8_256 tiny_vit_5m_224 tnt_s_legacy_patch16_224
    tresnet_m twins_svt_small vgg11 visformer_tiny vit_relpos_small_patch16_224 vit_tiny_patch16_224 vitamin_small_224
    volo_d1_224 vovnet39a xception41 xcit_nano_12_p16_224
"""


def layers() -> Iterator[Case]:
    """Layers and functions, between a convolution and a linear layer."""
    for text in (*ACTIVATIONS.split(), *LAYERS.split()):
        yield Case(text, lambda text=text: Classifier(_layer(text)), SIDE)  # type: ignore[misc]
    for text in ROWS.split():
        yield Case(f"{text} of rows", lambda text=text: Classifier(_of_rows(text)), SIDE)  # type: ignore[misc]
    for name, function in FUNCTIONS.items():
        yield Case(name, lambda function=function: Classifier(function), SIDE)  # type: ignore[misc]
    yield Case("affine_grid, grid_sample", lambda: Classifier(Transformer()), SIDE)


def _of_rows(text: str) -> nn.Module:
    layer = _layer(text)
    if isinstance(layer, nn.Bilinear):
        return Rows(lambda x, layer=layer: layer(x, x.flip(1)))
    return Rows(Attention(layer) if isinstance(layer, nn.MultiheadAttention) else layer)


def _layer(text: str) -> nn.Module:
    module: nn.Module = eval(f"nn.{text}" if text.endswith(")") else f"nn.{text}()", {"nn": nn})  # of the lists above
    return module


def families() -> Iterator[Case]:
    """The smallest members of torchvision's and timm's families, with random weights."""
    _named()
    for package, names in {"torchvision": TORCHVISION, "timm": TIMM}.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed, so {len(names.split())} of its families are skipped", flush=True)
            continue
        of = _of_timm if package == "timm" else _of_torchvision
        for name in names.split():
            yield Case(f"{package} {name}", *of(name))


def _of_torchvision(name: str) -> tuple[Callable[[], nn.Module], int]:
    """A maker, and a side of images."""
    library = importlib.import_module("torchvision.models")
    return lambda: library.get_model(name, num_classes=CLASSES), SIDES.get(name, 64)


def _of_timm(name: str) -> tuple[Callable[[], nn.Module], int]:
    """A maker, and a side of images: 64 or what is needed where the family takes any, else its own."""
    library = importlib.import_module("timm")
    settings = library.get_pretrained_cfg(name, allow_unregistered=True)
    least = settings.min_input_size or (3, 64, 64)
    side = settings.input_size[-1] if settings.fixed_input_size else SIDES.get(name, max(64, least[-1]))
    return lambda: library.create_model(name, num_classes=CLASSES), side


def _named() -> None:
    """Name the operators of torchvision that it looks for while it is imported.

    A build for CUDA can't load them beside PyTorch's CPU build; no classifier needs one.
    """
    if importlib.util.find_spec("torchvision") is not None and not hasattr(torch.ops.torchvision, "nms"):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
