"""Reads a TFLite model: as much of its flatbuffer as a float convolution network needs, with `struct` alone.

The format: a table is an int32 that leads back to its vtable; the vtable is a row of uint16, the first two its own
length and the table's, the others the place of each field in the table, 0 where it has its default. Vectors,
strings and tables are referred to by a uint32 counted from where it stands. Numbers are little-endian. Field
numbers are those of the public `schema.fbs` of TensorFlow Lite, version 3.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from weights.errors import MalformedModel, UnsupportedGraph

_SCHEMA_VERSION: Final = 3
_NAMES: Final = MappingProxyType(
    {0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 18: "MUL", 19: "RELU", 22: "RESHAPE", 41: "SUB", 101: "ABS"}
)
_INPUT_COUNTS: Final = MappingProxyType(
    {
        "ADD": (2,),
        "CONV_2D": (2, 3),
        "DEPTHWISE_CONV_2D": (2, 3),
        "MUL": (2,),
        "RELU": (1,),
        "RESHAPE": (1, 2),
        "SUB": (2,),
        "ABS": (1,),
    }
)
_DTYPES: Final = MappingProxyType({0: "<f4", 2: "<i4"})


class Padding(IntEnum):
    """How a convolution treats the border."""

    SAME = 0
    VALID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A value of the graph.

    Attributes:
        shape: As stored; the batch may be fixed.
        data: Of a constant, little-endian, read-only, in the shape above; None for what is computed.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.float32] | npt.NDArray[np.int32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvOptions:
    """Of CONV_2D and DEPTHWISE_CONV_2D; each pair is (height, width)."""

    padding: Padding
    strides_hw: tuple[int, int]
    dilations_hw: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One step; `inputs` and `outputs` are tensor indices, -1 for an input left out."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    conv: ConvOptions | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A model's only subgraph; the operators are in an order in which they can be run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(data: bytes) -> Graph:
    """Read a model.

    Raises:
        MalformedModel: Not a TFLite flatbuffer, or one that points outside itself.
        UnsupportedGraph: An operator, type or option other than those above; the message names it.
    """
    if data[4:8] != b"TFL3":
        raise MalformedModel("not a TFLite model: the identifier TFL3 is not at byte 4")
    try:
        return _graph(_Table(data, _unpack("<I", data, 0)))
    except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
        if isinstance(error, MalformedModel | UnsupportedGraph):
            raise
        raise MalformedModel(f"a damaged TFLite model: {error}") from error


def _graph(model: "_Table") -> Graph:
    if model.number(0, "<I", 0) != _SCHEMA_VERSION:
        raise UnsupportedGraph(f"TFLite schema version {model.number(0, '<I', 0)}; only {_SCHEMA_VERSION} is read")
    subgraphs = model.tables(2)
    if len(subgraphs) != 1:
        raise UnsupportedGraph(f"{len(subgraphs)} subgraphs; only a model with one is read")
    names = [_operator_name(code) for code in model.tables(1)]
    buffers = model.tables(4)
    subgraph = subgraphs[0]
    tensors = tuple(_tensor(index, table, buffers) for index, table in enumerate(subgraph.tables(0)))
    operators = tuple(_operator(index, table, names) for index, table in enumerate(subgraph.tables(3)))
    graph = Graph(tensors=tensors, operators=operators, inputs=subgraph.integers(1), outputs=subgraph.integers(2))
    for used in (graph.inputs, graph.outputs, *(step.inputs + step.outputs for step in operators)):
        if any(not -1 <= index < len(tensors) for index in used):
            raise MalformedModel(f"a tensor index outside 0..{len(tensors) - 1}: {used}")
    return graph


def _operator_name(code: "_Table") -> str:
    # Up to 127 the code is in a byte; newer writers repeat it in a wider field.
    number = max(code.number(0, "<b", 0), code.number(3, "<i", 0))
    return _NAMES.get(number, f"builtin operator {number}")


def _tensor(index: int, table: "_Table", buffers: "list[_Table]") -> Tensor:
    name, shape = table.text(3), table.integers(0)
    raw = buffers[table.number(2, "<I", 0)].raw(0)
    if not raw:
        return Tensor(index=index, name=name, shape=shape, data=None)
    kind = table.number(1, "<b", 0)
    if kind not in _DTYPES:
        raise UnsupportedGraph(f"tensor {index} ({name}) has TFLite type {kind}; only float32 and int32 are read")
    data: npt.NDArray[np.float32] | npt.NDArray[np.int32] = np.frombuffer(raw, _DTYPES[kind]).reshape(shape)
    return Tensor(index=index, name=name, shape=shape, data=data)


def _operator(index: int, table: "_Table", names: list[str]) -> Operator:
    name = names[table.number(0, "<I", 0)]
    if name not in _NAMES.values():
        raise UnsupportedGraph(f"step {index} is {name}; only these are read: {', '.join(_NAMES.values())}")
    options = table.table(4)
    conv = None
    activation = 0
    if name == "CONV_2D":
        conv = _conv(options, {"stride_wh": (1, 2), "dilation_wh": (4, 5)})
        activation = options.number(3, "<b", 0) if options else 0
    elif name == "DEPTHWISE_CONV_2D":
        conv = _conv(options, {"stride_wh": (1, 2), "dilation_wh": (5, 6)})
        activation = options.number(4, "<b", 0) if options else 0
    elif name in {"ADD", "SUB", "MUL"}:
        activation = options.number(0, "<b", 0) if options else 0
    if activation:
        raise UnsupportedGraph(f"step {index} ({name}) has fused activation {activation}; only 0 (none) is read")
    step = Operator(index=index, name=name, inputs=table.integers(1), outputs=table.integers(2), conv=conv)
    complete = len(step.inputs) in _INPUT_COUNTS[name] and len(step.outputs) == 1
    if not complete or min(*step.inputs[:2], *step.outputs) < 0:  # only a bias may be left out
        raise MalformedModel(f"step {index} ({name}) has inputs {step.inputs} and outputs {step.outputs}")
    return step


def _conv(options: "_Table | None", fields: Mapping[str, tuple[int, int]]) -> ConvOptions:
    if options is None:
        raise MalformedModel("a convolution without options")
    (stride_w, stride_h), (dilation_w, dilation_h) = fields["stride_wh"], fields["dilation_wh"]
    strides_hw = (options.number(stride_h, "<i", 0), options.number(stride_w, "<i", 0))
    dilations_hw = (options.number(dilation_h, "<i", 1), options.number(dilation_w, "<i", 1))
    if min(*strides_hw, *dilations_hw) < 1:
        raise MalformedModel(f"a convolution with strides {strides_hw} and dilations {dilations_hw}")
    padding = Padding(options.number(0, "<b", 0))
    return ConvOptions(padding=padding, strides_hw=strides_hw, dilations_hw=dilations_hw)


def _unpack(code: str, data: bytes, at: int) -> int:
    if at < 0:
        raise MalformedModel(f"a damaged TFLite model: something lies {-at} bytes before its beginning")
    value: int = struct.unpack_from(code, data, at)[0]
    return value


class _Table:
    """A flatbuffer table; fields by their number in the schema."""

    __slots__ = ("_at", "_data", "_places")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        vtable = at - _unpack("<i", data, at)
        count = (_unpack("<H", data, vtable) - 4) // 2
        self._places = tuple(_unpack("<H", data, vtable + 4 + 2 * number) for number in range(count))

    def number(self, field: int, code: str, default: int) -> int:
        place = self._place(field)
        return default if place is None else _unpack(code, self._data, place)

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self._data, self._target(place))

    def tables(self, field: int) -> "list[_Table]":
        begin, count = self._vector(field, 4)
        return [_Table(self._data, self._target(begin + 4 * number)) for number in range(count)]

    def integers(self, field: int) -> tuple[int, ...]:
        begin, count = self._vector(field, 4)
        return struct.unpack_from(f"<{count}i", self._data, begin)

    def raw(self, field: int) -> bytes:
        begin, count = self._vector(field, 1)
        return self._data[begin : begin + count]

    def text(self, field: int) -> str:
        return self.raw(field).decode("utf-8")

    def _place(self, field: int) -> int | None:
        if field >= len(self._places) or not self._places[field]:
            return None
        return self._at + self._places[field]

    def _target(self, place: int) -> int:
        return place + _unpack("<I", self._data, place)

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        at = self._target(place)
        count = _unpack("<I", self._data, at)
        if at + 4 + count * item_bytes > len(self._data):
            raise MalformedModel(f"a damaged TFLite model: {count} items at byte {at} reach past its end")
        return at + 4, count
