"""Channels removed for real: which ones a network can spare, and a narrower network without them.

Channels hang together: what one convolution no longer makes, others no longer take, and where two outputs are added or
joined both must agree. torch-pruning finds those groups by following the graph. How much a group matters is measured:
each is narrowed alone, and the loss on real pictures tells (a sensitivity scan; Li et al., "Pruning Filters for
Efficient ConvNets", 2017). Which channels of a group go first is told by the first-order change of the loss when they
are zeroed (Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch_pruning
from torch import Tensor, nn

from weights.workshop.mobilefacenet import INPUT_PX, MobileFaceNet
from weights.workshop.retinaface import RetinaFace

Network = RetinaFace | MobileFaceNet

STEP: Final = 8
"""Channels go by so many, and so many stay: vector units take eight float32 or sixteen and more int8 at once."""

TRIED: Final = (0.75, 0.5, 0.25)
"""The parts of a group's channels that the scan leaves."""

ELEMENT_MACS: Final = 12.0
"""What writing one value of a layer's output costs, in multiplications: it makes wide early layers as dear as they are.
Fitted to the layers' times on a CPU with AVX2, where a depthwise convolution takes twice as long as its work says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Channels that can only go together.

    Attributes:
        name: Of the convolution that makes them, the first of several.
        width: How many there are.
        harm: By the part that is left, how much the loss rises; nothing is lost at 1.
    """

    name: str
    width: int
    harm: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How wide each group is to be.

    Attributes:
        widths: Channels that stay, by group name; groups that stay whole are left out.
        cost: The part of the network's cost that is left, by the model of `ELEMENT_MACS`.
    """

    widths: Mapping[str, int]
    cost: float


@dataclass(slots=True)
class _Layer:
    """One convolution's share of the cost."""

    per_channel: float  # multiplications a pair of input and output channels; of a depthwise one, a channel
    outputs: float  # values of the output a channel
    channels_in: int
    channels_out: int
    depthwise: bool

    def cost(self) -> float:
        pairs = self.channels_out if self.depthwise else self.channels_in * self.channels_out
        return self.per_channel * pairs + ELEMENT_MACS * self.outputs * self.channels_out


def scan(
    model: Network,
    loss_of: Callable[[Network], Tensor],
    on_step: Callable[[int, int], None] | None = None,
) -> list[LayerGroup]:
    """How much each group matters.

    Args:
        model: The network, folded and in evaluation mode; not changed.
        loss_of: The loss of a network on the same pictures each time.
        on_step: Told how many groups are done, of how many.
    """
    with torch.no_grad():
        whole = float(loss_of(model).detach())
    names = [(name, width) for name, width in _roots(model) if width > STEP]
    groups = []
    for number, (name, width) in enumerate(names):
        harm, worst = {}, 0.0
        for part in TRIED:
            kept = _rounded(width, part)
            if kept < width:
                narrower = copy.deepcopy(model)
                _narrow(narrower, {name: kept}, torch_pruning.importance.GroupMagnitudeImportance(p=2))
                with torch.no_grad():
                    worst = max(worst, float(loss_of(narrower)) - whole)
            harm[part] = worst
        groups.append(LayerGroup(name=name, width=width, harm=harm))
        if on_step is not None:
            on_step(number + 1, len(names))
    return groups


def plan(model: Network, groups: Sequence[LayerGroup], *, cost: float, size_hw: tuple[int, int]) -> Plan:
    """The widths that leave a part of the cost and do the least harm, one step of channels after another.

    Args:
        model: The network that was scanned.
        groups: What the scan found.
        cost: The part that may be left, 0..1; as near as steps of channels come, or as far as they go.
        size_hw: The pictures' size at which layers are weighed.
    """
    layers, members = _weighed(model, size_hw)
    whole = sum(layer.cost() for layer in layers.values())
    widths = {group.name: group.width for group in groups}
    by_name = {group.name: group for group in groups}
    left = whole
    while left > cost * whole:
        best: tuple[float, str] | None = None
        for name, width in widths.items():
            group = by_name[name]
            if width - STEP < max(STEP, min(TRIED) * group.width):
                continue  # narrower than what was tried
            saved = _saved(layers, members[name], STEP)
            harm = _harm(group, width - STEP) - _harm(group, width)
            rank = (harm + 1e-9) / max(saved, 1.0)
            if best is None or rank < best[0]:
                best = rank, name
        if best is None:
            break
        name = best[1]
        widths[name] -= STEP
        _shrink(layers, members[name], STEP)
        left = sum(layer.cost() for layer in layers.values())
    changed = {name: width for name, width in widths.items() if width < by_name[name].width}
    return Plan(widths=changed, cost=left / whole)


def prune(model: Network, widths: Mapping[str, int], losses: Sequence[Callable[[Network], Tensor]]) -> Network:
    """A narrower copy.

    Args:
        model: The network; not changed.
        widths: Of a plan.
        losses: The loss on different pictures; their gradients say which channels matter.
    """
    narrower = copy.deepcopy(model)
    narrower.zero_grad()
    for loss_of in losses:
        loss_of(narrower).backward()
    _narrow(narrower, widths, torch_pruning.importance.GroupTaylorImportance())
    narrower.zero_grad(set_to_none=True)
    return narrower.eval()


def multiplications(model: Network, size_hw: tuple[int, int] = (384, 640)) -> int:
    """Multiplications of all convolutions for one picture of this size."""
    layers, _members = _weighed(model, size_hw)
    return round(sum(layer.cost() - ELEMENT_MACS * layer.outputs * layer.channels_out for layer in layers.values()))


def _example(model: Network) -> Tensor:
    parameter = next(model.parameters())
    side = INPUT_PX if isinstance(model, MobileFaceNet) else 64
    return torch.zeros(1, 3, side, side, device=parameter.device)


def _graph(model: Network) -> Any:
    return torch_pruning.DependencyGraph().build_dependency(model, _example(model), verbose=False)


def _ends(model: Network) -> list[nn.Module]:
    """Layers whose outputs are the network's: they keep their channels."""
    if isinstance(model, MobileFaceNet):
        return [model.linear[-1].conv]
    return [layer for heads in (model.class_head, model.box_head, model.landmark_head) for layer in heads]


def _roots(model: Network) -> list[tuple[str, int]]:
    """The first convolution of each group, and its width."""
    names = {module: name for name, module in model.named_modules()}
    found = []
    for group in _graph(model).get_all_groups(ignored_layers=_ends(model), root_module_types=[nn.Conv2d]):
        root = group[0].dep.target.module
        found.append((names[root], root.out_channels))
    return found


def _narrow(model: Network, widths: Mapping[str, int], importance: Any) -> None:
    """Remove the least important channels of some groups, in place."""
    graph = _graph(model)
    modules = dict(model.named_modules())
    # All are ranked before any is narrowed: gradients do not survive it.
    doomed = {}
    for name, kept in widths.items():
        root = modules[name]
        group = graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, list(range(root.out_channels)))
        order = torch.argsort(importance(group))
        doomed[name] = order[: root.out_channels - kept].tolist()
    for name, channels in doomed.items():
        graph.get_pruning_group(modules[name], torch_pruning.prune_conv_out_channels, channels).prune()


def _weighed(model: Network, size_hw: tuple[int, int]) -> tuple[dict[str, _Layer], dict[str, list[tuple[str, bool]]]]:
    """Each convolution's cost, and for each group its members: the layer, and whether it is the output that shrinks."""
    names = {module: name for name, module in model.named_modules()}
    layers: dict[str, _Layer] = {}

    def note(module: nn.Conv2d, _inputs: object, output: Tensor) -> None:
        pixels = output.shape[-1] * output.shape[-2]
        kernel = module.kernel_size[0] * module.kernel_size[1]
        seen = layers.get(names[module])
        layers[names[module]] = _Layer(
            per_channel=kernel * pixels + (seen.per_channel if seen else 0),
            outputs=pixels + (seen.outputs if seen else 0),
            channels_in=module.in_channels,
            channels_out=module.out_channels,
            depthwise=module.groups > 1,
        )

    hooks = [module.register_forward_hook(note) for module in names if isinstance(module, nn.Conv2d)]
    parameter = next(model.parameters())
    side = (INPUT_PX, INPUT_PX) if isinstance(model, MobileFaceNet) else size_hw
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, *side, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    members: dict[str, list[tuple[str, bool]]] = {}
    for group in _graph(model).get_all_groups(ignored_layers=_ends(model), root_module_types=[nn.Conv2d]):
        root = names[group[0].dep.target.module]
        members[root] = [
            (names[item.dep.target.module], item.dep.handler.__name__.endswith("out_channels"))
            for item in group
            if isinstance(item.dep.target.module, nn.Conv2d)
        ]
    return layers, members


def _saved(layers: Mapping[str, _Layer], members: Sequence[tuple[str, bool]], channels: int) -> float:
    touched = {name: copy.copy(layers[name]) for name, _out in members}
    before = sum(layer.cost() for layer in touched.values())
    _shrink(touched, members, channels)
    return before - sum(layer.cost() for layer in touched.values())


def _shrink(layers: Mapping[str, _Layer], members: Sequence[tuple[str, bool]], channels: int) -> None:
    for name, is_output in members:
        layer = layers[name]
        if is_output or layer.depthwise:
            layer.channels_out -= channels
        if not is_output or layer.depthwise:
            layer.channels_in -= channels


def _rounded(width: int, part: float) -> int:
    return max(STEP, round(width * part / STEP) * STEP)


def _harm(group: LayerGroup, width: int) -> float:
    """The loss that a width costs, between the widths that were tried."""
    points = sorted([*((part, group.harm[part]) for part in TRIED), (1.0, 0.0)])
    part = width / group.width
    for (low, high_harm), (high, low_harm) in itertools.pairwise(points):
        if part <= high:
            return high_harm + (low_harm - high_harm) * (part - low) / (high - low)
    return 0.0
