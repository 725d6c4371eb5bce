"""What every model offers its user, written once: the papers beside this file define their layers and their loss.

    Estimator          fit, score, get_params, set_params, save, load
      Codec            encode and decode, and what follows from both: transform, reconstruct, ...
        LikelihoodCodec    a Codec whose decoder's output is a distribution over images, hence bits_per_dim

The verbs are scikit-learn's, so that a model can be cloned, put into a Pipeline and searched by GridSearchCV without
this package importing scikit-learn. Plain arrays go in and come out (arrays.py); the model underneath is a Module.

A model of one's own is a subclass: README, "A model of your own".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minivae.autograd import Tensor
from minivae.data.archive import reading
from minivae.data.batches import Batches
from minivae.kernels import checks
from minivae.nn import init
from minivae.nn.likelihoods import LIKELIHOODS, Likelihood
from minivae.nn.module import Module, not_finite
from minivae.optim import CosineSchedule
from minivae.random import Generator, current_generator, default_generator, fork, use_generator
from minivae.training.checkpoint import CheckpointFile, open_checkpoint, save_checkpoint
from minivae.training.loop import EVALUATION_SEED
from minivae.training.plain import plain
from minivae.training.progress import Progress
from minivae.training.ranks import choose_gpu
from minivae.training.resume import OF_FIT, TrainingFile, tuples
from minivae.training.settings import MakeOptimizer, MakeSchedule, OnEpoch, Settings

from .arrays import shaped
from .given import WithModules, check_modules, layers_of

E = TypeVar("E", bound="Estimator")


class Estimator(WithModules):
    """It is the base class of the models.

    A subclass keeps its constructor's arguments as attributes of the same names, calls super().__init__() after that,
    and defines build(), which makes its layers, and loss(x); one that is conditional on labels defines loss(x, y).
    Where its constructor ends in **keywords for super(), these count as its parameters too.

    All models have these parameters besides their own:

    epochs, lr, batch_size: those of fit(), unless it is given others.
    random_state: None, or a seed in [0, 2^64) for weights, order of the images and noise. With a seed fit() starts anew
    each time, whatever the weights were: its outcome depends on the parameters and the data alone, in every thread and
    process. warm_start=True keeps the weights. Without a seed all is drawn from minivae's generator (manual_seed), and
    fit() always goes on from the present weights, as after load().

    Modules among the parameters (an encoder of one's own) are copied and never changed: see given.py.
    """

    history: list[dict[str, Any]]
    _records = ("history",)
    generator: Generator | None = None  # that of the random_state

    def __init__(
        self,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        _check_fit(epochs, lr, batch_size, warm_start)
        if random_state is not None:
            checks.seed("random_state", random_state)
        self.epochs, self.lr, self.batch_size, self.warm_start = epochs, lr, batch_size, warm_start
        self.random_state = random_state
        self._build_anew()

    def _build_anew(self) -> None:
        """Make new weights, drawn from the seed if there is one; given modules start again from their own."""
        self.history = []
        self.generator = None if self.random_state is None else Generator(self.random_state)
        with use_generator(self.generator or current_generator()), self.copied_modules():
            self.build()
        if not self.parameters():
            raise ValueError(f"{type(self).__name__} has no Parameter to train, got none from build()")

    def build(self) -> None:
        """Make the layers from the parameters."""
        raise NotImplementedError(f"{type(self).__name__} does not define build()")

    def own_noise(self) -> AbstractContextManager[None]:
        """In a with block, let a model with a random_state draw its own noise, unless a generator is set already."""
        if self.generator is None or current_generator() is not default_generator:
            return nullcontext()
        return use_generator(self.generator)

    # ---- scikit-learn's conventions ----

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments as they were given."""
        names = self._parameters()
        if missing := [name for name in names if name not in self.given and not hasattr(self, name)]:
            raise ValueError(f"{type(self).__name__} has the parameter {missing[0]}, but got no attribute of that name")
        return {name: self.given[name] if name in self.given else getattr(self, name) for name in names}

    def set_params(self: E, **params: Any) -> E:
        """Change arguments of the constructor. The layers are built anew, with new weights, unless only epochs, lr,
        batch_size and warm_start change. Raise ValueError for an unknown name; after an error all is as it was."""
        known = self.get_params()
        if unknown := sorted(params.keys() - known.keys()):
            raise ValueError(f"{type(self).__name__} has no parameter {unknown}; it has {sorted(known)}")
        if params.keys() <= set(OF_FIT):
            _check_fit(*(params.get(name, getattr(self, name)) for name in OF_FIT))
            vars(self).update(params)
        else:
            changed = type(self)(**{**known, **params})  # all is checked before anything of this model changes
            vars(self).update(vars(changed))
        return self

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags. Only scikit-learn asks for them, so it is installed."""
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=TransformerTags())

    def __sklearn_is_fitted__(self) -> bool:
        """Return True, as a model can be used from its first, random weights on."""
        return True

    def fit(
        self: E,
        x: np.ndarray,
        y: Any = None,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = CosineSchedule,
        clip_norm: float | None = None,
        validation: np.ndarray | tuple[np.ndarray, Any] | None = None,
        device: str | None = None,
        progress: bool | Progress = False,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_epoch: OnEpoch | Sequence[OnEpoch] | None = None,
        shards: int | None = None,
    ) -> E:
        """Train on images x, by default with Adam, the learning rate falling from lr to 0 along half a cosine.

        epochs, batch_size, lr: the model's own unless given. Training starts from the present weights; with a
        random_state and without warm_start or resume, from new ones.
        x: (N, C, H, W), or whatever `check_images` takes. y: labels (N,) for a conditional model; others ignore it, so
        that they fit into scikit-learn's Pipeline. An x that maps a file (np.load(path, mmap_mode="r")) may be larger
        than memory: each batch is read when it is trained on, its bytes divided by 255 and its values checked
        (data.lazy). validation: other images, or a pair of images and their labels.
        device: 'cpu' or 'cuda', where the model goes and stays; None leaves it where it is.

        optimizer: makes the Optimizer, a function of the parameters such as mv.optim.SGD, partial(mv.optim.AdamW,
        weight_decay=0.1) or lambda params: mv.optim.SGD(params, lr=0.1). It gets the learning rate too if it has a
        parameter `lr`; if not, as in the lambda, it sets its own, and giving one to fit() is an error. None is Adam.
        schedule: makes the Schedule, a function of the optimizer and, if it has a parameter `total_steps`, of the
        number of steps: CosineSchedule, partial(CosineSchedule, warmup_steps=100), partial(StepSchedule,
        step_size=500). None keeps the learning rate as it is. clip_norm: bound on the norm of the gradients,
        of each player by itself in a model with an adversary.

        progress: True for a bar on stderr, or a Progress of one's own. checkpoint: a .npz written after each epoch.
        resume: go on from it, bit by bit as if never interrupted, with the arguments and the data of the training that
        it belongs to. (Functions that are arguments of a schedule cannot be compared.) Only epochs may be larger: from
        the checkpoint on, the learning rate follows the cosine of the longer training. It rises at that point, so the
        model differs from one that is trained for as many epochs in one go.
        on_epoch: a function of the epoch's record, a mv.training.Callback such as EarlyStopping, or a list of them,
        called after each epoch. One that returns True stops the training, after that epoch's checkpoint is written.
        Resuming a training that a Callback has stopped changes nothing; one that a function has stopped goes on.
        shards: into how many parts each batch is cut, which several ranks of mpiexec share: training/team.py says how
        and which number it is unless given. Under mpiexec all ranks call fit() with the same arguments and end with the
        same weights, bit by bit those that a single process with as many shards gets. 1: this process trains alone.
        `history` has the records. The weights are the last, unless EarlyStopping restores those of its best_epoch.

        Raises ValueError for data that does not fit (its first NaN is named), missing labels or a checkpoint of another
        training, TypeError for dtypes that do not fit and for functions that return something else than they should,
        FloatingPointError if a loss, weight or gradient stops being finite, before it is written anywhere.
        """
        settings = Settings(
            *self._of_fit(epochs, lr, batch_size, warm_start=None),
            given_lr=lr,
            optimizer=optimizer,
            schedule=schedule,
            clip_norm=clip_norm,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
            on_epoch=on_epoch,
            shards=shards,
        )
        x, y = self._check_data(x, y)
        held_out = None if validation is None else self._check_validation(validation)
        if self.generator is not None and not settings.warm_start and not settings.resume:
            self._start_anew()
        choose_gpu(device)
        self.to(device=device)
        seed = (self.generator or current_generator()).seed
        trainer = settings.trainer(self, Batches(x, settings.batch_size, seed, y), held_out)
        self._see_labels(y)
        after_epoch = settings.functions
        if checkpoint is not None:
            file = TrainingFile(checkpoint, trainer, settings.epochs, self._meta())
            if settings.resume:
                file.restore()
            after_epoch = [lambda record: file.save(), *after_epoch]
        self.history = trainer.history
        trainer.run(settings.epochs, settings.reporter, after_epoch)
        return self

    def _see_labels(self, y: np.ndarray | None) -> None:
        """fit() calls this with the labels (N,) of the training images, for models that count them; others do nothing.

        y is None for a model that is not conditional.
        """

    def _of_fit(self, epochs: Any, lr: Any, batch_size: Any, warm_start: Any) -> tuple[int, float, int, bool]:
        """Return the parameters OF_FIT that were given to fit(), and the model's own in the place of None."""
        own, given = (getattr(self, name) for name in OF_FIT), (epochs, lr, batch_size, warm_start)
        return _check_fit(*(mine if value is None else value for mine, value in zip(own, given, strict=True)))

    def _start_anew(self) -> None:
        """Make weights and noise what the constructor made, where the weights are now and in their dtype."""
        device, dtype = self.parameters()[0].device, self.parameters()[0].dtype
        frozen = {name for name, p in self.named_parameters() if not p.requires_grad}
        self._build_anew()
        for name, p in self.named_parameters():
            p.requires_grad = p.requires_grad and name not in frozen
        self.to(device, dtype)

    # ---- scores ----

    def score_samples(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Return a score of each example (N,), the higher the better."""
        raise NotImplementedError(f"{type(self).__name__} does not define score_samples()")

    def score(self, x: np.ndarray, y: Any = None) -> float:
        """Return the mean of score_samples(x) under the noise of evaluate(): the higher the better.

        For a likelihood it is the bound in nats per example, for an autoencoder minus the squared error. y: labels, for
        a conditional model; others ignore it. Raises ValueError for no examples.
        """
        with fork(EVALUATION_SEED):
            scores = self.score_samples(x, y=y) if self.conditional else self.score_samples(x)
        if not len(scores):
            raise ValueError(f"a score needs at least one example, got {len(scores)}")
        return float(scores.mean(dtype=np.float64))

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write class, constructor's arguments and weights to a .npz (or .safetensors) file, atomically.

        The file holds the weights of all layers, but no code of modules that were given to the constructor: load() must
        be given such modules again. Raises FloatingPointError if a weight is NaN or infinite.
        """
        state = self.state_dict()
        if names := not_finite(state):
            raise FloatingPointError(f"a model is not saved with NaN or infinity in {names[0]}")
        save_checkpoint(path, state, self._meta())

    @classmethod
    def load(cls: type[E], path: str | Path, **modules: Module) -> E:
        """Load the model that save() wrote.

        modules: encoder=, decoder=, ... where the constructor was given some: Modules of the same layers, with any
        weights. They are the model's parameters from then on, and a fit() that starts anew starts from their weights.

        Raises ValueError for an unreadable file, one that holds another class, weights that do not fit or are not
        finite, and for modules that are missing, of other layers or not of this model; TypeError for what is no Module.
        """
        with open_checkpoint(path) as file:
            if file.meta.get("model") != cls.__name__:
                raise ValueError(f"{str(path)!r} holds a {file.meta.get('model')}, not a {cls.__name__}")
            model = cls._described_by(file, check_modules(repr(str(path)), file.meta.get("params"), modules))
            file.check(model.state_dict())
            arrays = file.arrays()
        try:
            model.load_state_dict(arrays)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is no usable model: {error}") from error
        return model.eval()

    @classmethod
    def _described_by(cls: type[E], file: CheckpointFile, modules: Mapping[str, Module]) -> E:
        """Make a model from the arguments in a file, in its dtype.

        The models of this package make no more weights than the file has numbers, whatever its arguments say; a
        build() of the user's own may make layers that it does not keep.
        """
        ours = cls.build.__module__.startswith(f"{__package__}.")
        with reading(file.path, cls.__name__), init.at_most(file.numbers) if ours else nullcontext():
            if not isinstance(params := file.meta.get("params"), dict):
                raise ValueError(f"the constructor's arguments are {params!r}, not a dictionary")
            model = cls(**{**tuples(params), **modules})
            dtypes = {header.dtype for header in file.headers.values() if header.dtype.kind == "f"}
            if dtypes:
                model.to(dtype=dtypes.pop())
        return model

    def _meta(self) -> dict[str, Any]:
        params = {name: layers_of(v) if isinstance(v, Module) else plain(v) for name, v in self.get_params().items()}
        return {"model": type(self).__name__, "params": params}


class Codec(Estimator):
    """A Codec is an Estimator with encode(x) and decode(z), which scikit-learn knows under other names."""

    latent_dim: int  # only where codes are vectors
    encoder: Module
    decoder: Module

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return the codes (N, ...) of images."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode()")

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Return the images (N, C, H, W) of codes (N, ...)."""
        raise NotImplementedError(f"{type(self).__name__} does not define decode()")

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Return decode(encode(x))."""
        return self.decode(self.encode(x))

    def _decoded(self, z: Tensor) -> Tensor:
        """Return the decoder's output (N, C, H, W) for latents (N, ...). Raise ValueError for another shape."""
        return shaped("decoder", self.decoder(z), len(z), *self.image_shape)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Return encode(x)."""
        return self.encode(x)

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Return decode(z)."""
        return self.decode(z)

    def fit_transform(self, x: np.ndarray, y: Any = None, **options: Any) -> np.ndarray:
        """Call fit(x, y, **options) and return encode(x)."""
        return self.fit(x, y, **options).encode(x)

    def check_latents(self, z: Any) -> np.ndarray:
        """Return z as (N, latent_dim) in the model's dtype.

        Raises TypeError unless z are integers or floating numbers, ValueError for other shapes, NaN and infinity.
        """
        z = checks.array("latents", z, "iuf")
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must have shape (N, {self.latent_dim}), got {z.shape}")
        with np.errstate(over="ignore"):
            z = z.astype(self.parameters()[0].dtype, copy=False)
        checks.check_finite(z, "latents")
        return z


class LikelihoodCodec(Codec):
    """It is a Codec whose decoder gives the parameters of a distribution over images, its `observation`."""

    likelihood: str
    observation: Likelihood

    def build_observation(self) -> None:
        """Make the distribution that the parameter `likelihood` names; build() calls this."""
        self.observation = LIKELIHOODS[self.likelihood]()
        self.unit_interval, self.pixel_levels = self.observation.unit_interval, self.observation.pixel_levels

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The shape of the decoder's output for an image: (C', H, W), with as many channels as the likelihood needs."""
        C, H, W = (int(n) for n in self.image_shape)
        return LIKELIHOODS[self.likelihood].channels(C), H, W

    def _decoded(self, z: Tensor) -> Tensor:
        """Return the decoder's output (N, C', H, W) for latents (N, ...). Raise ValueError for another shape."""
        return shaped("decoder", self.decoder(z), len(z), *self.output_shape)

    def _image(self, output: Tensor, pixels: bool) -> Tensor:
        """Return the expected images for the decoder's output or, for pixels, images drawn from p(x | z)."""
        return self.observation.sample(output) if checks.flag("pixels", pixels) else self.observation.mean(output)

    def bits_per_dim(self, nats: float) -> float:
        """Convert nats per image to bits per channel and pixel, see nn.likelihoods."""
        return self.observation.bits_per_dim(checks.number("nats", nats), tuple(self.image_shape))


def _check_fit(epochs: Any, lr: Any, batch_size: Any, warm_start: Any) -> tuple[int, float, int, bool]:
    """Check the parameters OF_FIT and return them, in this order, as plain values."""
    return (
        checks.integer("epochs", epochs, 1),
        checks.number("lr", lr, "[0, inf)"),
        checks.integer("batch_size", batch_size, 1),
        checks.flag("warm_start", warm_start),
    )
