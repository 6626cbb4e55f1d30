"""The families of masked autoencoders and of the classifiers that are trained from them."""

from jaxhar.core.family import Entry, Family, Kind, Rule, Transfer
from jaxhar.models.mae.config import ImageClassifierConfig, ImageMaeConfig, MaeConfig, VideoClassifierConfig
from jaxhar.models.mae.network import build
from jaxhar.models.mae.positions import resized

#: Parts of the networks -> the first part of their names in the originals' files.
_PARTS = (("encoder", ""), ("decoder", "decoder_"))


def _rules(part: str, prefix: str, fused: bool) -> tuple[Rule, ...]:
    """Names of a part; `fused`: queries, keys and values in one weight."""
    names = ("qkv",) if fused else ("q", "k", "v")
    return (
        Rule(rf"{part}\.(.*\.attn)\.qkv\.kernel", tuple(rf"{prefix}\1.{name}.weight" for name in names), Kind.LINEAR),
        Rule(rf"{part}\.(.*\.attn)\.qkv\.bias", tuple(rf"{prefix}\1.{name}.bias" for name in names), Kind.NORM),
        Rule(rf"{part}\.patch_embed\.kernel", "patch_embed.proj.weight", Kind.CONV),
        Rule(rf"{part}\.patch_embed\.bias", "patch_embed.proj.bias", Kind.NORM),
        Rule(rf"{part}\.mask_token", "mask_token", Kind.EMBEDDING),
        Rule(rf"{part}\.(cls_token|pos_embed\w*)", rf"{prefix}\1", Kind.EMBEDDING),
        Rule(rf"{part}\.(.*)\.kernel", rf"{prefix}\1.weight", Kind.LINEAR),
        Rule(rf"{part}\.(.*)\.scale", rf"{prefix}\1.weight", Kind.NORM),
        Rule(rf"{part}\.(.*)\.bias", rf"{prefix}\1.bias", Kind.NORM),
    )


#: The head; with a batch normalisation, its statistics and the linear layer are numbered.
_HEAD = (
    Rule(r"head\.linear\.kernel", "head.weight", Kind.LINEAR),
    Rule(r"head\.linear\.bias", "head.bias", Kind.NORM),
)
#: The norm of what is pooled, of pictures.
_FC_NORM = (
    Rule(r"fc_norm\.scale", "fc_norm.weight", Kind.NORM),
    Rule(r"fc_norm\.bias", "fc_norm.bias", Kind.NORM),
)
#: The head of SlowFast's files.
_SLOWFAST_HEAD = (
    Rule(r"head\.linear\.kernel", "head.projection.weight", Kind.LINEAR),
    Rule(r"head\.linear\.bias", "head.projection.bias", Kind.NORM),
)
_NORMED_HEAD = (
    Rule(r"head\.norm\.mean", "head.0.running_mean", Kind.NORM),
    Rule(r"head\.norm\.var", "head.0.running_var", Kind.NORM),
    Rule(r"head\.linear\.kernel", "head.1.weight", Kind.LINEAR),
    Rule(r"head\.linear\.bias", "head.1.bias", Kind.NORM),
)


def table(config: MaeConfig) -> tuple[Rule, ...]:
    """The names of dmae_st: queries, keys and values apart in the encoder of videos."""
    return (*_rules(*_PARTS[0], fused=config.image), *_rules(*_PARTS[1], fused=True))


def apart(config: MaeConfig) -> tuple[tuple[Rule, ...], ...]:
    """The names of mae_st: apart in the decoder, too."""
    return ((*_rules(*_PARTS[0], fused=False), *_rules(*_PARTS[1], fused=False)),)


def classifier_table(config: VideoClassifierConfig) -> tuple[Rule, ...]:
    """The names of both repositories; of pictures those of mae."""
    own = _FC_NORM if config.own_norm else ()
    return (*_rules(*_PARTS[0], fused=config.image), *own, *(_NORMED_HEAD if config.head_norm else _HEAD))


def slowfast(config: VideoClassifierConfig) -> tuple[tuple[Rule, ...], ...]:
    """The names of SlowFast's head."""
    return () if config.head_norm else ((*_rules(*_PARTS[0], fused=False), *_SLOWFAST_HEAD),)


#: Learned positions of the encoder.
_POSITIONS = (r"encoder\.pos_embed\w*",)

_TINY_TRUNK = {"image_size": 32, "patch": 8, "width": 32, "depth": 1, "heads": 2}
_TINY = {**_TINY_TRUNK, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}

#: Where mae_st's pretrained files lie, by the letter of the network and the data; no checksums are published.
_FILE = "https://dl.fbaipublicfiles.com/mae_st/pretrain/vit_{}/{}_400ep_rep4_mr9_16x4.pyth"
_LICENCE = "CC-BY-NC 4.0, no commercial use (facebookresearch/mae_st)"


def _published(letter: str, size: tuple[int, int]) -> Entry:
    """A network with files that were pretrained on Kinetics-400, 600 and 700."""
    return Entry(
        MaeConfig.of_size(letter),
        release=_FILE.format(letter, "k400"),
        licence=_LICENCE,
        size=size,
        accept=True,
        variants=tuple((data, _FILE.format(letter, data)) for data in ("k600", "k700")),
    )


FAMILY = Family(
    name="mae-st",
    config=MaeConfig,
    build=build,
    entries={
        "mae-st-vit-b": Entry(MaeConfig.of_size("b"), size=(99_898_880, 44_497_029_120)),
        "mae-st-vit-l": _published("l", (317_731_584, 79_413_837_824)),
        "mae-st-vit-h": _published("h", (645_232_460, 176_463_255_552)),
    },
    tiny={**_TINY, "mask_ratio": 0.75},
    table=table,
    dialects=apart,
    trunk="encoder",
    resized=resized,
    positions=_POSITIONS,
    transfer=Transfer(fresh=(r"decoder\..*",), unused=(r"head\..*",)),
)

IMAGES = Family(
    name="mae",
    config=ImageMaeConfig,
    build=build,
    entries={
        "mae-vit-b": Entry(ImageMaeConfig.of_size("b"), size=(111_907_840, 9_694_429_184)),
        "mae-vit-l": Entry(ImageMaeConfig.of_size("l"), size=(329_541_888, 20_640_178_176)),
    },
    tiny=_TINY,
    table=table,
    trunk="encoder",
    resized=resized,
    positions=_POSITIONS,
    transfer=Transfer(fresh=(r"decoder\..*",), unused=(r"head\..*",)),
)

#: Kinetics-400's classes, whose names come with the data.
_KINETICS = tuple(f"class {i}" for i in range(400))
CLASSIFIERS = Family(
    name="mae-st-classifier",
    config=VideoClassifierConfig,
    build=build,
    entries={
        f"mae-st-vit-{letter}-k400": Entry(
            VideoClassifierConfig.of_size(letter),
            None,
            _KINETICS,
            f"Kinetics-400, 3 crops of 7 clips: top-1 {accuracy} % (SlowFast)",
            size=size,
        )
        for letter, accuracy, size in (
            ("b", 81.3, (86_702_224, 180_574_408_704)),
            ("l", 84.8, (304_506_256, 597_520_629_760)),
            ("h", 85.1, (632_040_080, 1_636_303_523_840)),
        )
    },
    tiny=_TINY_TRUNK,
    table=classifier_table,
    dialects=slowfast,
    trunk="encoder",
    resized=resized,
    positions=_POSITIONS,
    transfer=Transfer(fresh=(r"head\..*",), unused=(r"decoder\..*", r"noise\..*", r"head\..*")),
)

#: ImageNet's 1000 classes, whose names come with the data.
_IMAGENET = tuple(f"class {i}" for i in range(1000))
IMAGE_CLASSIFIERS = Family(
    name="mae-classifier",
    config=ImageClassifierConfig,
    build=build,
    entries={
        f"mae-vit-{letter}-in1k": Entry(ImageClassifierConfig.of_size(letter), None, _IMAGENET, size=size)
        for letter, size in (("b", (86_567_656, 17_563_828_224)), ("l", (304_326_632, 61_554_712_576)))
    },
    tiny=_TINY_TRUNK,
    table=classifier_table,
    trunk="encoder",
    resized=resized,
    positions=_POSITIONS,
    # A pretrained norm is left where the network has its own.
    transfer=Transfer(
        fresh=(r"head\..*", r"fc_norm\..*"), unused=(r"decoder\..*", r"noise\..*", r"head\..*", r"encoder\.norm\..*")
    ),
)
