"""TensorBoard's event file, written without TensorBoard: scalars and pictures by step.

An event file is a chain of TFRecords (length, its checksum, protocol buffer, its checksum); of the buffers only the
few fields of tensorflow/core/util/event.proto and summary.proto that are needed here are written.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


class EventLog:
    """An event file in `folder`; a training that is resumed adds another one, and TensorBoard joins them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.petdiffusion"
        self._append(_text(3, b"brain.Event:2"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each named curve."""
        points = [_text(1, name.encode()) + b"\x15" + struct.pack("<f", value) for name, value in values.items()]
        self._append(_number(2, step) + _text(5, b"".join(_text(1, point) for point in points)))

    def picture(self, name: str, grey: np.ndarray, step: int) -> None:
        """Add a picture: [rows, columns], 0 is white and 1 black, as PET is shown."""
        height, width = grey.shape
        file = io.BytesIO()
        Image.fromarray(np.uint8(255 * (1 - np.clip(grey, 0, 1)))).save(file, "PNG")
        image = _number(1, height) + _number(2, width) + _number(3, 1) + _text(4, file.getvalue())
        self._append(_number(2, step) + _text(5, _text(1, _text(1, name.encode()) + _text(4, image))))

    def _append(self, event: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        with open(self.path, "ab") as stream:
            stream.write(length + _checksum(length) + event + _checksum(event))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C of a TFRecord."""
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial."""
    crc, table = 0xFFFFFFFF, _crc_table()
    for byte in content:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table
