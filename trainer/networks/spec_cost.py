"""What a spec costs, worked out from the spec alone: no Keras, microseconds."""

from dataclasses import dataclass

from faces.contract import CLASSES, SIDE
from trainer.errors import ConfigError
from trainer.networks.spec import ArchitectureSpec, PlainSpec, ResidualSpec


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    # Weights, those of the normalisations' running statistics included, as Keras counts them.
    parameters: int
    # Multiply-accumulates of convolutions and dense layers for one face.
    macs: int


@dataclass(frozen=True)
class Budget:
    """What an architecture may cost. Both ends are allowed."""

    # Multiply-accumulates for one face.
    min_macs: int = 0
    max_macs: int = 100_000_000
    # Weights.
    max_parameters: int = 2_000_000

    def check(self, cost: Cost) -> str | None:
        """Why a cost is not allowed; None if it is."""
        if cost.parameters > self.max_parameters:
            return f"{cost.parameters:,} parameters, over {self.max_parameters:,}"
        if cost.macs > self.max_macs:
            return f"{cost.macs / 1e6:.1f} M multiply-accumulates, over {self.max_macs / 1e6:.1f} M"
        if cost.macs < self.min_macs:
            return f"{cost.macs / 1e6:.1f} M multiply-accumulates, under {self.min_macs / 1e6:.1f} M"
        return None


class _Counter:
    """Adds layers up while it follows the side and the channels of the map."""

    def __init__(self, side: int, channels: int = 1) -> None:
        self.side = side
        self.channels = channels
        self.parameters = 0
        self.macs = 0

    def conv(self, width: int, kernel: int, *, bias: bool = False, norm: int = 1) -> None:
        """A convolution whose output has the side `self.side`, and `norm` batch normalisations."""
        weights = kernel * kernel * self.channels * width
        self.parameters += weights + width * bias + 4 * width * norm
        self.macs += weights * self.side * self.side
        self.channels = width

    def dense(self, inputs: int, outputs: int) -> None:
        self.parameters += (inputs + 1) * outputs
        self.macs += inputs * outputs


def cost(spec: ArchitectureSpec, side: int = SIDE) -> Cost:
    """Parameters and multiply-accumulates of the network that `trainer.networks.networks.random` builds.

    Args:
        side: of the faces, pixels; see `TrainConfig.sides`.

    Raises:
        ConfigError: a map is smaller than the kernel that works on it.
    """
    counter = _plain(spec, side) if isinstance(spec, PlainSpec) else _residual(spec, side)
    return Cost(counter.parameters, counter.macs)


def _plain(spec: PlainSpec, side: int) -> _Counter:
    counter = _Counter(side)
    for number, module in enumerate(spec.modules):
        if counter.side < module.kernel:
            raise ConfigError(f"spec: module {number}: kernel {module.kernel} on a map of side {counter.side}")
        counter.side = (counter.side - module.kernel) // module.stride + 1
        counter.conv(module.filters, module.kernel, bias=module.bias, norm=module.norm_before + module.norm_after)
    if counter.side < 3:
        raise ConfigError(f"spec: head: kernel 3 on a map of side {counter.side}")
    counter.side -= 2
    counter.conv(len(CLASSES), 3, bias=True, norm=0)
    return counter


def _residual(spec: ResidualSpec, side: int) -> _Counter:
    counter = _Counter(side)
    if spec.stem:
        counter.conv(spec.stem, 3)
    counter.side //= 2
    counter.conv(spec.stages[0].width, 3)
    for index, stage in enumerate(spec.stages):
        if index:
            counter.side //= 2
        for number in range(stage.depth):
            inputs = counter.channels
            if inputs != stage.width:
                counter.conv(stage.width, 1)
                counter.channels = inputs
            if stage.block == "basic":
                counter.conv(stage.width, 3)
            else:
                _reduce(counter, stage.width // 2, halved=index > 0 and number == 0)
                counter.conv(stage.width // 2, 3)
            counter.conv(stage.width, 3 if stage.block == "basic" else 1)
            if spec.squeeze:
                inner = max(4, stage.width // spec.squeeze)
                counter.dense(stage.width, inner)
                counter.dense(inner, stage.width)
    counter.dense(counter.channels, len(CLASSES))
    return counter


def _reduce(counter: _Counter, width: int, *, halved: bool) -> None:
    # A bottleneck's first convolution still works on the larger map: the stride is in its second one.
    side = counter.side
    counter.side = side * 2 if halved else side
    counter.conv(width, 1)
    counter.side = side
