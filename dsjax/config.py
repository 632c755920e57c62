"""Settings of a pre-training run and the presets to start from. Imports no JAX, so that `--help` answers at once."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from dsjax.errors import ConfigError

EncoderName = Literal["resnet10", "resnet18", "resnet50"]
Dtype = Literal["float32", "bfloat16"]
Access = Literal["uniform", "shards"]
OptimiserName = Literal["adamw", "lars"]
ScheduleName = Literal["cosine", "linear", "constant"]
Split = Literal["train", "val", "test", "none"]
_MIN_WIDTH = 1 / 64  # one channel in the stem
_MAX_SEED = 2**32 - 1  # of Grain's shuffling


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder."""

    name: EncoderName = "resnet18"
    """resnet10 is resnet18 with one block a stage: half the time to compile and to run."""
    width: float = 1.0
    """Multiplies the channels of every stage; 1 is the published network."""
    dtype: Dtype = "float32"
    """Of the arithmetic; parameters and batch statistics always stay float32."""


@dataclass(frozen=True)
class Ramp:
    """A value that grows linearly from `first` to `last` between two shares of the run."""

    first: float
    last: float
    start: float = 0.05
    """Share of all steps at which it starts to grow."""
    end: float = 0.3
    """Share of all steps at which it has grown."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 1:
            raise ConfigError(f"a ramp from share {self.start:g} to {self.end:g} of a run: need 0 <= start < end <= 1")

    def check(self, name: str, limit: float = math.inf) -> None:
        """Raise ConfigError unless its values lie within 0 and a limit."""
        if not (0 <= self.first <= limit and 0 <= self.last <= limit):
            reach = "0 or more" if limit == math.inf else f"0 to {limit:g}"
            raise ConfigError(f"{name} grows from {self.first:g} to {self.last:g}; take {reach}")


@dataclass(frozen=True)
class AugmentConfig:
    """How two views of one place are made to differ; shift 1 to 16 and band dropout .01 to .3 as Kruitwagen 2020."""

    shift_px: Ramp = Ramp(2, 16)
    """Largest displacement of a view inside its window, 10 m pixels."""
    s2_gain: float = 0.2
    """Standard deviation of the log of the illumination, common to all optical bands of a view."""
    s2_band_gain: float = 0.05
    """The same for each band on its own."""
    s2_offset: float = 0.01
    """Standard deviation of added path radiance, reflectance, common to all bands."""
    s1_offset_db: float = 1.0
    """Standard deviation of an added level for each polarisation, dB."""
    s1_noise_db: float = 1.0
    """Standard deviation of noise added to each radar pixel, dB."""
    band_dropout: Ramp = Ramp(0.01, 0.3)
    """Probability that a band of a view is blanked."""
    sensor_dropout: Ramp = Ramp(0.0, 0.5)
    """Probability that a view keeps one sensor alone."""

    def check(self) -> None:
        """Raise ConfigError where a number makes no sense."""
        self.shift_px.check("augment.shift_px")
        self.band_dropout.check("augment.band_dropout", 1)
        self.sensor_dropout.check("augment.sensor_dropout", 1)
        for name in ("s2_gain", "s2_band_gain", "s2_offset", "s1_offset_db", "s1_noise_db"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"augment.{name} is {getattr(self, name):g}; take a deviation of 0 or more")


@dataclass(frozen=True)
class SimCLRConfig:
    """Contrast of two views against all other patches of the batch (Chen et al. 2020)."""

    temperature: float = 0.2
    projection_dim: int = 128
    hidden_dim: int = 512
    cross_sensor: float = 0.5
    """Share of pairs whose one view is Sentinel-1 alone and the other Sentinel-2 alone."""

    def check(self) -> None:
        """Raise ConfigError where a number makes no sense."""
        if not self.temperature > 0:
            raise ConfigError(f"method.temperature is {self.temperature:g}; take a number above 0, such as 0.2")
        if not 0 <= self.cross_sensor <= 1:
            raise ConfigError(f"method.cross_sensor is {self.cross_sensor:g}; it is a share of pairs: 0 to 1")
        for name in ("projection_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"method.{name} is {getattr(self, name)}; take 1 or more")


@dataclass(frozen=True)
class ReadConfig:
    """In which order patches are read, and how often each read serves."""

    access: Access = "uniform"
    """uniform: any patch may follow any other. shards: whole shards pass through a buffer, for remote corpora."""
    buffer_shards: int = 8
    """Shards that a batch mixes where access is shards. A cache that holds twice as many, those of a batch for every
    reader thread and two more fetches each once; a smaller one fetches some again."""
    crops_per_read: int = 1
    """Steps that one read of a batch serves, each with other crops: for machines that train faster than they read."""

    def check(self) -> None:
        """Raise ConfigError where a number makes no sense."""
        for name in ("buffer_shards", "crops_per_read"):
            if getattr(self, name) < 1:
                raise ConfigError(f"read.{name} is {getattr(self, name)}; take 1 or more")


@dataclass(frozen=True)
class OptimiserConfig:
    """How gradients move parameters."""

    name: OptimiserName = "adamw"
    """lars (You et al. 2017) for batches of several thousand patches, with a learning rate of 0.3 a 256 patches."""
    learning_rate: float = 1e-3
    """At the end of the warm-up."""
    schedule: ScheduleName = "cosine"
    """After the linear warm-up: down to zero at the last step along a cosine or a line, or constant."""
    warmup: float = 0.1
    """Share of all steps."""
    weight_decay: float = 1e-2
    """On kernels; biases, scales and tokens have none."""
    momentum: float = 0.9
    """Of lars alone."""
    clip_norm: float | None = None
    """Gradients longer than this, all parameters together, are shortened to it."""
    ema: float | None = None
    """Decay a step of a running mean of all weights, such as 0.999; the encoder is then loaded from that mean."""

    def check(self) -> None:
        """Raise ConfigError where a number makes no sense."""
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"optimiser.learning_rate is {self.learning_rate:g}; take a number above 0")
        if not self.weight_decay >= 0:
            raise ConfigError(f"optimiser.weight_decay is {self.weight_decay:g}; take 0 or more")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"optimiser.momentum is {self.momentum:g}; take 0 to below 1")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"optimiser.warmup is {self.warmup:g}; it is a share of all steps: 0 to below 1")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"optimiser.clip_norm is {self.clip_norm:g}; take a length above 0, or None")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"optimiser.ema is {self.ema:g}; take a decay between 0 and 1, or None")


@dataclass(frozen=True)
class HostsConfig:
    """Where the processes of a run find each other. SLURM, Open MPI, GKE and TPU pods say so themselves."""

    coordinator: str | None = None
    """Host and port of the first process, such as 10.0.0.1:8476."""
    processes: int | None = None
    """How many there are."""
    process: int | None = None
    """Which of them this one is, from 0."""


@dataclass(frozen=True)
class Pretrain:
    """Pre-train an encoder on patches without labels."""

    corpus: str = tyro.MISSING
    """Collection to train on: its folder or URL (https, s3, gs, az), or a subset that a search wrote."""
    more_corpora: tuple[str, ...] = ()
    """Others to train on as well."""
    weights: tuple[float, ...] = ()
    """Share of the patches drawn from `corpus` and each of `more_corpora`, in any unit; by their sizes where none. A
    patch that is drawn several times an epoch meets itself in a batch only where that asks for more patches than there
    are, or where access is shards."""
    out: Path = tyro.MISSING
    """Run folder to make."""
    seed: int = 0
    steps: int = 1000
    batch_size: int = 64
    """Patches a step, over all devices."""
    accumulate: int = 1
    """Parts a batch goes through the encoder in, one after the other, to save memory. The loss still contrasts the
    whole batch; only batch statistics are those of a part."""
    crop_px: int = 64
    """Side of a view, 10 m pixels; a multiple of 32."""
    hold_out: tuple[Split, ...] = ("val", "test", "none")
    """Splits of the corpus never trained on. "none" are the patches kept out of both train and test: too near to
    testing ones, or showing a held-out class. A corpus that states no split is used whole."""
    read: ReadConfig = ReadConfig()
    encoder: EncoderConfig = EncoderConfig()
    augment: AugmentConfig = AugmentConfig()
    method: SimCLRConfig = SimCLRConfig()
    optimiser: OptimiserConfig = OptimiserConfig()

    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 500
    """Steps between checkpoints; one more is written at the end or when interrupted."""
    keep: int = 2
    """Newest checkpoints to keep."""
    keep_best: int = 0
    """Checkpoints of the lowest loss to keep besides, that of the steps since the line of metrics before; they count
    once the augmentation has grown."""
    stop_at_step: int | None = None
    """End early, as an interruption would; --resume goes on from there."""
    reader_threads: int = 2
    cache: Path | None = None
    """Folder that keeps whole shards of remote corpora; each process uses one of its own inside."""
    cache_gb: float = 20.0
    """Its largest size; a shard has 0.17 GB."""
    resume: bool = False
    """Go on with the run in `out`."""
    overwrite: bool = False
    """Delete the run in `out` first."""
    multihost: bool = False
    """One run of several processes: start the same command on every host."""
    hosts: HostsConfig = HostsConfig()
    shard_parameters: bool = False
    """Split parameters and optimiser state over the devices too, where they do not fit one."""
    profile: bool = False
    """Record a trace of five steps in the run folder, for Perfetto or XProf."""
    tensorboard: bool = False
    """Write metrics as TensorBoard events too."""
    compilation_cache: Path | None = field(default_factory=lambda: Path("~/.cache/deepsentinel/jax").expanduser())
    """Where compiled programs are kept between runs; None for nowhere."""

    @property
    def augmented_from_step(self) -> int:
        """The step from which the augmentation no longer grows: losses before it compare with none after."""
        ramps = (self.augment.shift_px, self.augment.band_dropout, self.augment.sensor_dropout)
        return round(max(ramp.end for ramp in ramps) * self.steps)

    @property
    def window_px(self) -> int:
        """Side of the square read from a patch: a view and the room to displace it, 10 m pixels."""
        return self.crop_px + int(max(self.augment.shift_px.first, self.augment.shift_px.last))

    def check(self) -> None:
        """Raise ConfigError where settings do not fit each other."""
        for name in ("steps", "crop_px", "log_every", "checkpoint_every", "keep", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; take 1 or more")
        for name in ("seed", "keep_best", "reader_threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; take 0 or more")
        if self.seed > _MAX_SEED:
            raise ConfigError(f"seed is {self.seed}; take {_MAX_SEED} or less")
        if self.stop_at_step is not None and self.stop_at_step < 1:
            raise ConfigError(f"stop_at_step is {self.stop_at_step}; take 1 or more, or leave it out")
        if self.keep_best and self.checkpoint_every % self.log_every:
            raise ConfigError(
                f"checkpoint_every is {self.checkpoint_every}, but the loss that ranks the keep_best={self.keep_best} "
                f"is known every log_every={self.log_every} steps alone; take a multiple"
            )
        if unknown := sorted(set(self.hold_out) - set(get_args(Split))):
            raise ConfigError(
                f"hold_out names {', '.join(unknown)}, which is no split; take of {', '.join(get_args(Split))}"
            )
        self.read.check()
        if self.weights and len(self.weights) != 1 + len(self.more_corpora):
            raise ConfigError(
                f"there are {len(self.weights)} weights for {1 + len(self.more_corpora)} corpora; give one each"
            )
        self.optimiser.check()
        self.augment.check()
        self.method.check()
        if not _MIN_WIDTH <= self.encoder.width < math.inf:
            raise ConfigError(f"encoder.width is {self.encoder.width:g}; take {_MIN_WIDTH:g} or more")
        if not self.cache_gb > 0:
            raise ConfigError(f"cache_gb is {self.cache_gb:g}; take a size above 0")
        if self.resume and self.overwrite:
            raise ConfigError(
                "--resume goes on with the run in the folder and --overwrite deletes it; give one of them"
            )
        if len({self.corpus, *self.more_corpora}) < 1 + len(self.more_corpora):
            raise ConfigError(
                f"{', '.join((self.corpus, *self.more_corpora))}: a corpus is given twice; give it a weight instead"
            )
        if self.crop_px % 32:
            raise ConfigError(f"crop_px is {self.crop_px}; take a multiple of 32, the stride of the deepest stage")
        if self.window_px % 2:
            raise ConfigError(
                f"augment.shift_px grows to {self.window_px - self.crop_px}; take an even number of pixels"
            )
        if self.batch_size < 2:
            raise ConfigError(f"batch_size is {self.batch_size}; contrast needs at least 2 patches")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be cut into accumulate={self.accumulate} equal parts"
            )
        if self.hosts != HostsConfig() and not self.multihost:
            raise ConfigError("hosts are given for a run of one process; add --multihost")


# These may change when a run is resumed: they do not touch a single parameter. Where corpora lie may; that they are the
# same ones is checked by their fingerprints.
FREE_FIELDS = frozenset(
    {
        "corpus", "more_corpora", "out", "log_every", "checkpoint_every", "keep", "keep_best", "stop_at_step",
        "reader_threads", "cache", "cache_gb", "resume", "overwrite", "multihost", "hosts", "shard_parameters",
        "profile", "tensorboard", "compilation_cache",
    }
)  # fmt: skip

PRESETS: dict[str, tuple[str, Pretrain]] = {
    "debug": (
        "Seconds on one core: does everything run?",
        Pretrain(
            steps=20,
            batch_size=8,
            crop_px=32,
            encoder=EncoderConfig("resnet10", width=0.125),
            augment=AugmentConfig(shift_px=Ramp(2, 4)),
            method=SimCLRConfig(projection_dim=32, hidden_dim=64),
            log_every=5,
            checkpoint_every=10,
        ),
    ),
    "demo": (
        "Minutes on two cores, about 500 patches.",
        # Few patches of one region look alike: with the full augmentation the task is too hard for a run this short.
        Pretrain(
            steps=800,
            encoder=EncoderConfig("resnet10", width=0.25),
            augment=AugmentConfig(
                shift_px=Ramp(2, 32),  # views that share half of their ground: layout alone does not give them away
                s2_gain=0.1,
                s2_band_gain=0.03,
                s2_offset=0.005,
                s1_offset_db=0.5,
                s1_noise_db=0.5,
                band_dropout=Ramp(0.01, 0.1),
                sensor_dropout=Ramp(0.0, 0.3),
            ),
            method=SimCLRConfig(cross_sensor=0.4),
            optimiser=OptimiserConfig(learning_rate=2e-3),
            log_every=10,
            checkpoint_every=200,
        ),
    ),
    "small": (
        "Hours on one GPU, 10,000 patches and more.",
        Pretrain(
            steps=20_000,
            batch_size=512,
            crop_px=128,
            encoder=EncoderConfig(dtype="bfloat16"),
            method=SimCLRConfig(hidden_dim=2048),
            log_every=50,
            checkpoint_every=1000,
            reader_threads=8,
        ),
    ),
    "base": (
        "Days on several GPUs or TPU cores, 100,000 patches and more.",
        Pretrain(
            steps=100_000,
            batch_size=1024,
            crop_px=192,
            encoder=EncoderConfig(name="resnet50", dtype="bfloat16"),
            method=SimCLRConfig(hidden_dim=2048),
            log_every=100,
            checkpoint_every=2000,
            reader_threads=16,
        ),
    ),
}


def to_dict(config: Pretrain) -> dict[str, Any]:
    """Settings as JSON types."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def from_dict(raw: dict[str, Any]) -> Pretrain:
    """Settings from what `to_dict` gave."""
    augment: dict[str, Any] = {
        name: Ramp(**value) if isinstance(value, dict) else value for name, value in raw["augment"].items()
    }
    cache = raw["compilation_cache"]
    typed: dict[str, Any] = {
        "out": Path(raw["out"]),
        "hold_out": tuple(raw["hold_out"]),
        "more_corpora": tuple(raw.get("more_corpora", ())),
        "weights": tuple(raw.get("weights", ())),
        "read": ReadConfig(**raw.get("read", {})),
        "cache": None if raw.get("cache") is None else Path(raw["cache"]),
        "encoder": EncoderConfig(**raw["encoder"]),
        "augment": AugmentConfig(**augment),
        "method": SimCLRConfig(**raw["method"]),
        "optimiser": OptimiserConfig(**raw["optimiser"]),
        "hosts": HostsConfig(**raw.get("hosts", {})),
        "compilation_cache": None if cache is None else Path(cache),
    }
    return Pretrain(**raw | typed)


def changed_fields(saved: Pretrain, given: Pretrain) -> dict[str, tuple[Any, Any]]:
    """Settings that would change the parameters a resumed run ends with: name -> (saved, given)."""
    old, new = (_leaves({n: v for n, v in to_dict(c).items() if n not in FREE_FIELDS}) for c in (saved, given))
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _leaves(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings inside settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
