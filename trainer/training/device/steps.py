"""The training step on a device: a view of each face of the next batch, the loss, the optimiser, the average.

On a GPU the step is recorded once as a CUDA graph. Its arguments are tensors that the host fills before an epoch: which
faces stand in which batch, how faces are mixed, the learning rates. Replaying it costs the host microseconds.
"""

from collections.abc import Sequence

import keras
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.data.split import Split
from trainer.errors import ConfigError
from trainer.networks.scores import TINY
from trainer.training.checkpoint import load_run
from trainer.training.config import TrainConfig
from trainer.training.device.views import Views
from trainer.training.targets import Teacher, beside, label_targets, labels_of, teacher_of

_WARM_UPS = 3
"""Steps before a recording: libraries choose their kernels and take their memory in the first ones (PyTorch's manual,
CUDA graphs)."""


class Steps:
    """The state of a training on a device, and its steps.

    Args:
        model: built and initialised, with the precision of the training.
        split: the training faces.
        config: of the training; its optimiser must be AdamW.
        teacher: of these faces.

    Raises:
        ConfigError: the config asks for what only the host's feed has.
    """

    def __init__(self, model: keras.Model, split: Split, config: TrainConfig, teacher: Teacher | None) -> None:
        _require_supported(model, config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.count = len(split) // config.batch_size
        self._model = model
        self._config = config
        self._taught = teacher is not None
        labels = label_targets(split, config.ferplus)
        self._asked = _open(teacher, config.precision) if teacher else []
        targets = labels if teacher is None else beside(labels, teacher, config.distill.temperature)
        self._faces = torch.from_numpy(np.ascontiguousarray(split.images)).to(self.device)
        self._targets = torch.from_numpy(targets).to(self.device)

        kernels: list[Tensor] = []
        others: list[Tensor] = []
        for variable in model.trainable_variables:
            # Decay pulls kernels towards zero; on a normalisation's scale or on a bias it only fights the data.
            exempt = variable.name in ("bias", "gamma", "beta")
            (others if exempt else kernels).append(variable.value)
        self._parameters = [*kernels, *others]
        self._rate = torch.zeros((), device=self.device)
        self._optimizer = torch.optim.AdamW(
            [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=self._rate,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        self._weights = [variable.value for variable in model.weights]
        self._average = [weight.detach().clone() for weight in self._weights]

        # The host's part of an epoch.
        self._order = torch.zeros((self.count, config.batch_size), dtype=torch.int64, device=self.device)
        self._shares = torch.ones((self.count, config.batch_size), device=self.device)
        total = config.epochs * self.count
        self._rates = torch.from_numpy(_rates(config, self.count)).to(self.device)
        ramp = (1 + np.arange(total)) / (10 + np.arange(total))
        keep = np.minimum(config.ema, ramp) if config.ema else np.zeros(total)
        self._changes = torch.from_numpy((1 - keep).astype(np.float32)).to(self.device)
        # Where the training is.
        self._step = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._loss = torch.zeros((), device=self.device)
        self._hits = torch.zeros((), device=self.device)
        self._recorded: tuple[object, torch.cuda.CUDAGraph] | None = None
        self._views: Views | None = None

    def run(self, epoch: int) -> tuple[float, float]:
        """Train an epoch, counted from 0; the mean loss and the accuracy on its views."""
        config = self._config
        torch.manual_seed((config.seed * 10_007 + epoch) % 2**32)
        rng = np.random.default_rng((config.seed, epoch))
        order = rng.permutation(len(self._faces))[: self.count * config.batch_size]
        self._order.copy_(torch.from_numpy(order.reshape(self.count, -1)))
        augment = config.augment_at(epoch)
        if augment.mixup:
            shares = rng.beta(augment.mixup, augment.mixup, self._shares.shape)
            self._shares.copy_(torch.from_numpy(shares.astype(np.float32)))
        else:
            self._shares.fill_(1.0)
        self._step.fill_(epoch * self.count)
        self._loss.zero_()
        self._hits.zero_()
        key = (augment, config.side(epoch))
        if self.device.type == "cuda":
            if self._recorded is None or self._recorded[0] != key:
                self._views = Views(*key, self.device)
                self._recorded = (key, self._record())
            graph = self._recorded[1]
            for _ in range(self.count):
                graph.replay()
        else:
            self._views = Views(*key, self.device)
            for _ in range(self.count):
                self._do()
        steps = self.count
        return float(self._loss) / steps, float(self._hits) / (steps * config.batch_size)

    def score(self, model: keras.Model, faces: Tensor) -> NDArray[np.float32]:
        """Scores float32 [N, 7] of faces [N, H, W, 1] on the device by the averaged weights, put into `model`."""
        for variable, value in zip(model.weights, self._average, strict=True):
            variable.value.data.copy_(value)
        with torch.no_grad():
            parts = [torch.softmax(model(part, training=False).float(), -1) for part in faces.split(1024)]
        return torch.cat(parts).cpu().numpy()  # type: ignore[no-any-return]

    def average(self) -> list[NDArray[np.float32]]:
        """The averaged weights, in the order of `model.weights`."""
        return [value.cpu().numpy() for value in self._average]

    def variables(self) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """The model's variables, and the optimiser's two moments of each parameter."""
        model = [variable.value.detach().cpu().numpy() for variable in self._model.variables]
        return model, [moment.cpu().numpy() for moment in self._moments()]

    def restore(
        self,
        model: Sequence[NDArray[np.float32]],
        optimizer: Sequence[NDArray[np.float32]],
        average: Sequence[NDArray[np.float32]],
        steps: int,
    ) -> None:
        """Go on from what `variables` and `average` gave after so many steps."""
        self._prepare()
        pairs = [
            *zip([variable.value for variable in self._model.variables], model, strict=True),
            *zip(self._moments(), optimizer, strict=True),
            *zip(self._average, average, strict=True),
        ]
        for tensor, array in pairs:
            tensor.data.copy_(torch.from_numpy(np.asarray(array)))
        for state in self._optimizer.state.values():
            state["step"].fill_(steps)

    def rate(self, epoch: int) -> float:
        """The learning rate after an epoch, counted from 1."""
        return float(self._rates[epoch * self.count - 1])

    def _moments(self) -> list[Tensor]:
        state = self._optimizer.state
        return [state[parameter][name] for parameter in self._parameters for name in ("exp_avg", "exp_avg_sq")]

    def _prepare(self) -> None:
        # The optimiser makes its moments in its first step; a step with no gradient and no rate leaves all else alone.
        if self._optimizer.state:
            return
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        kept = [parameter.detach().clone() for parameter in self._parameters]
        self._rate.zero_()
        self._optimizer.step()
        for parameter, value in zip(self._parameters, kept, strict=True):
            parameter.data.copy_(value)
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()

    def _record(self) -> torch.cuda.CUDAGraph:
        """Record the step. The steps that warm up leave no trace: all that they change is put back."""
        self._prepare()
        state = [
            *[variable.value for variable in self._model.variables],
            *self._moments(),
            *[values["step"] for values in self._optimizer.state.values()],
            *self._average,
            self._step,
            self._loss,
            self._hits,
        ]
        kept = [tensor.detach().clone() for tensor in state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._do()
        torch.cuda.current_stream().wait_stream(stream)
        for parameter in self._parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._do()
        for tensor, value in zip(state, kept, strict=True):
            tensor.data.copy_(value)
        return graph

    def _do(self) -> None:
        config = self._config
        assert self._views is not None
        row = self._step % self.count
        batch = self._order[row][0]
        share = self._shares[row][0]
        faces = (self._views(self._faces[batch]) / 127.5 - 1)[..., None]
        targets = self._targets[batch]
        faces = _mixed(faces, share[:, None, None, None])
        targets = _mixed(targets, share[:, None])
        logits = self._model(faces, training=True)
        loss = self._loss_of(targets, self._opinion(targets, faces) if self._taught else None, logits)
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, config.clip_norm)
        self._rate.copy_(self._rates[self._step][0])
        self._optimizer.step()
        with torch.no_grad():
            change = torch._foreach_sub(self._weights, self._average)
            torch._foreach_mul_(change, self._changes[self._step][0])
            torch._foreach_add_(self._average, change)
            self._loss += loss.detach()
            self._hits += (labels_of(targets).argmax(-1) == logits.argmax(-1)).sum()
            self._step += 1

    def _opinion(self, targets: Tensor, faces: Tensor) -> Tensor:
        """The teacher's distribution for each view, softened: [B, 7]."""
        opinion = teacher_of(targets)
        if not self._asked:
            return opinion
        with torch.no_grad():
            for network, temperature, share in self._asked:
                opinion = opinion + share * torch.softmax(network(faces, training=False).float() / temperature, -1)
            return torch.softmax(torch.log(opinion.clamp_min(TINY)) / self._config.distill.temperature, -1)

    def _loss_of(self, targets: Tensor, opinion: Tensor | None, logits: Tensor) -> Tensor:
        """`trainer.training.losses`, of PyTorch's own functions: Keras would copy constants from the host."""
        config = self._config
        hard = functional.cross_entropy(logits, labels_of(targets), label_smoothing=config.label_smoothing)
        if opinion is None:
            return hard
        temperature, weight = config.distill.temperature, config.distill.weight
        student = functional.log_softmax(logits / temperature, -1)
        divergence = functional.kl_div(student, opinion, reduction="batchmean")
        return (1 - weight) * hard + weight * temperature**2 * divergence


def _open(teacher: Teacher, precision: str) -> list[tuple[keras.Model, float, float]]:
    return [(load_run(run.directory, precision), run.temperature, run.share) for run in teacher.networks]


def _mixed(values: Tensor, share: Tensor) -> Tensor:
    """Mixup with the next one of the batch, as `trainer.training.augment.mix`."""
    return share * values + (1 - share) * values.roll(1, 0)


def _rates(config: TrainConfig, steps: int) -> NDArray[np.float32]:
    """The learning rate of each step, as `trainer.training.optimizers.schedule` has it."""
    total = config.epochs * steps
    warmup = min(round(config.warmup_epochs * steps), total - 1)
    step = np.arange(total)
    cosine = (1 + np.cos(np.pi * (step - warmup) / (total - warmup))) / 2
    rates = config.learning_rate * np.where(step < warmup, step / max(warmup, 1), cosine)
    return rates.astype(np.float32)


def _require_supported(model: keras.Model, config: TrainConfig) -> None:
    if config.optimizer != "adamw":
        raise ConfigError(f"feed: device has AdamW alone, not {config.optimizer}")
    if config.class_weights:
        raise ConfigError("feed: device has no class weights")
    if any(getattr(layer, "rate", 0) for layer in model._flatten_layers()):
        raise ConfigError(f"feed: device records a step once, and {model.name} has dropout, which draws on the host")
    if model.losses:
        raise ConfigError(f"feed: device has no penalties; set those of {model.name} to 0 and use weight_decay")
