"""Writes small TFLite models, so that the reader and the converter can be tested without real weights.

Every object is laid out after the one that refers to it, as the format's unsigned offsets want it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

CODES = {"ADD": 0, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "SOFTMAX": 25, "MUL": 18, "RELU": 19, "RESHAPE": 22}
CODES |= {"SUB": 41, "ABS": 101}


@dataclass(frozen=True)
class Byte:
    value: int


@dataclass(frozen=True)
class Int:
    value: int


@dataclass(frozen=True)
class Table:
    fields: Mapping[int, object]


def flatbuffer(root: Table, identifier: bytes = b"TFL3") -> bytes:
    """Ints and bytes are stored in their table; bytes, lists of int and lists of Table are stored behind it."""
    out = bytearray(b"\0\0\0\0" + identifier)
    waiting: list[tuple[int, object]] = [(0, root)]
    while waiting:
        place, value = waiting.pop(0)
        out += b"\0" * (-len(out) % 4)
        if isinstance(value, Table):
            at = _table(out, value, waiting)
        else:
            at = len(out)
            _vector(out, value, waiting)
        struct.pack_into("<I", out, place, at - place)
    return bytes(out)


def _table(out: bytearray, table: Table, waiting: list[tuple[int, object]]) -> int:
    count = max(table.fields, default=-1) + 1
    size = 4 + 2 * count
    vtable = len(out)
    at = vtable + size + (-size % 4)
    out += struct.pack("<HH", size, 4 + 4 * len(table.fields))
    places = {number: 4 + 4 * order for order, number in enumerate(table.fields)}
    out += b"".join(struct.pack("<H", places.get(number, 0)) for number in range(count))
    out += b"\0" * (at - len(out))
    out += struct.pack("<i", at - vtable)
    for number, value in table.fields.items():
        place = at + places[number]
        if isinstance(value, Byte):
            out += struct.pack("<bxxx", value.value)
        elif isinstance(value, Int):
            out += struct.pack("<i", value.value)
        else:
            out += b"\0\0\0\0"
            waiting.append((place, value))
    return at


def _vector(out: bytearray, value: object, waiting: list[tuple[int, object]]) -> None:
    if isinstance(value, bytes):
        out += struct.pack("<I", len(value)) + value
        return
    assert isinstance(value, Sequence)
    out += struct.pack("<I", len(value))
    for item in value:
        if isinstance(item, int):
            out += struct.pack("<i", item)
        else:
            waiting.append((len(out), item))
            out += b"\0\0\0\0"


@dataclass
class ModelBuilder:
    """Collects tensors and steps; tensor 0 is the input."""

    input_shape: tuple[int, ...]
    tensors: list[Table] = field(default_factory=list)
    buffers: list[Table] = field(default_factory=lambda: [Table({})])
    steps: list[Table] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tensor(self.input_shape)

    def tensor(self, shape: Sequence[int], data: np.ndarray | None = None) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(Table({0: data.tobytes()}))
        kinds = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3}
        kind = kinds[data.dtype.name] if data is not None else 0
        name = f"tensor{len(self.tensors)}".encode()
        self.tensors.append(Table({0: list(shape), 1: Byte(kind), 2: Int(buffer), 3: name}))
        return len(self.tensors) - 1

    def constant(self, data: np.ndarray) -> int:
        return self.tensor(data.shape, data)

    def step(
        self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Mapping[int, object] | None = None
    ) -> int:
        if name not in self.codes:
            self.codes.append(name)
        output = self.tensor(shape)
        fields: dict[int, object] = {0: Int(self.codes.index(name)), 1: list(inputs), 2: [output]}
        if options is not None:
            fields |= {3: Byte(1), 4: Table(options)}
        self.steps.append(Table(fields))
        return output

    def conv(
        self, x: int, weights: np.ndarray, shape: Sequence[int], *, padding: int = 0, stride: int = 1, bias: bool = True
    ) -> int:
        inputs = [x, self.constant(weights)]
        if bias:
            inputs.append(self.constant(np.linspace(-1, 1, weights.shape[0], dtype=np.float32)))
        return self.step("CONV_2D", inputs, shape, {0: Byte(padding), 1: Int(stride), 2: Int(stride)})

    def depthwise(self, x: int, weights: np.ndarray, shape: Sequence[int], *, padding: int = 0, stride: int = 1) -> int:
        bias = self.constant(np.linspace(-1, 1, weights.shape[3], dtype=np.float32))
        options = {0: Byte(padding), 1: Int(stride), 2: Int(stride), 3: Int(1)}
        return self.step("DEPTHWISE_CONV_2D", [x, self.constant(weights), bias], shape, options)

    def prelu(self, x: int, half_slopes: np.ndarray, shape: Sequence[int]) -> int:
        relu = self.step("RELU", [x], shape)
        difference = self.step("SUB", [x, self.step("ABS", [x], shape)], shape, {})
        product = self.step("MUL", [self.constant(half_slopes), difference], shape, {})
        return self.step("ADD", [relu, product], shape, {})

    def build(self, output: int) -> bytes:
        codes = [Table({0: Byte(CODES[name])}) for name in self.codes]
        graph = Table({0: self.tensors, 1: [0], 2: [output], 3: self.steps})
        return flatbuffer(Table({0: Int(3), 1: codes, 2: [graph], 4: self.buffers}))
