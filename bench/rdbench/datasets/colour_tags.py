"""Find what an image file says of its colours in code points (see `cicp`), without decoding it.

Pillow does not hand these on. They stand in the chunk cICP of PNG (PNG specification, 3rd edition,
11.3.2.6), in `colr` boxes of AVIF and HEIC (ISO/IEC 14496-12, 12.1.5, and 23008-12, 6.5.5), and in the header of a
JPEG XL codestream (ISO/IEC 18181-1, annex D).
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader, BytesIO

from rdbench.datasets.cicp import Cicp

Stream = BufferedReader | BytesIO
_PNG = b"\x89PNG\r\n\x1a\n"
_JXL = b"\xff\x0a"
_JXL_BOX = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_GRAY, _XYB, _CUSTOM = 1, 2, 2
"""Codes of JPEG XL: two colour spaces, and primaries or a white whose chromaticities follow."""
_MOST = 1 << 24
"""Bytes of metadata that are looked at; real files have a few hundred."""
_SAMPLE_ENTRY = 78
"""Bytes of a VisualSampleEntry before the boxes in it."""


def colour_tags(stream: Stream) -> Cicp | None:
    """Return the code points that decide what a file's samples are, or None where sRGB or an ICC profile does.

    A PNG's cICP goes before its ICC profile, an AVIF's or HEIC's ICC profile before its `colr` box with code points.
    Of a JPEG XL file only PQ and HLG are told: for all else its decoder makes an ICC profile. A file that is damaged or
    of another format has none. The stream is at its start afterwards.
    """
    try:
        stream.seek(0)
        start = stream.read(len(_JXL_BOX))
        stream.seek(0)
        with suppress(struct.error, IndexError, EOFError):
            if start.startswith(_PNG):
                return _of_png(stream)
            if start.startswith(_JXL) or start == _JXL_BOX:
                return _of_jxl(stream)
            if start[4:8] == b"ftyp":
                return _of_heif(stream)
        return None
    finally:
        stream.seek(0)


def _of_png(stream: Stream) -> Cicp | None:
    stream.seek(len(_PNG))
    found, profile = None, False
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND") or length > _MOST:
            break
        data = stream.read(length)
        stream.seek(4, 1)  # the checksum
        if kind == b"cICP" and length == 4 and found is None:
            found = Cicp(data[0], data[1], full_range=data[3] != 0)
        profile = profile or kind == b"iCCP"
    return None if found is None or (found.is_srgb and not profile) else found


def _of_heif(stream: Stream) -> Cicp | None:
    boxes = dict(_top_boxes(stream, (b"ftyp", b"meta", b"moov")))
    tags = None
    if boxes.get(b"ftyp", b"")[:4] == b"avis" and b"moov" in boxes:  # its first frame is read, not its still picture
        tags = _of_track(boxes[b"moov"])
    elif b"meta" in boxes:
        tags = _of_item(boxes[b"meta"][4:])
    return None if tags is None or tags.is_srgb else tags


def _of_item(meta: bytes) -> Cicp | None:
    """Return the code points of a meta box's primary item, or of the first picture that it is put together from."""
    boxes = dict(_boxes(meta))
    version = boxes[b"pitm"][0] if b"pitm" in boxes else 0
    item = int.from_bytes(boxes.get(b"pitm", b"")[4 : 8 if version else 6], "big")
    parts = list(_boxes(boxes.get(b"iprp", b"")))
    properties = [box for kind, content in parts if kind == b"ipco" for box in _boxes(content)]
    of_items: dict[int, list[int]] = {}
    for kind, content in parts:
        if kind == b"ipma":
            of_items.update(_associations(content))
    for each in (item, *_made_of(boxes.get(b"iref", b""), item)[:1]):
        colours = [properties[i - 1][1] for i in of_items.get(each, ()) if properties[i - 1][0] == b"colr"]
        if colours:
            return _decisive(colours)
    return None


def _associations(content: bytes) -> Iterator[tuple[int, list[int]]]:
    """Yield items and the numbers of their properties, from 1, of an ipma box."""
    wide_item, wide_index = content[0] > 0, content[3] & 1
    at = 8
    for _ in range(int.from_bytes(content[4:8], "big")):
        size = 4 if wide_item else 2
        item, count = int.from_bytes(content[at : at + size], "big"), content[at + size]
        at += size + 1
        size = 2 if wide_index else 1
        numbers = [int.from_bytes(content[at + size * i : at + size * (i + 1)], "big") for i in range(count)]
        at += size * count
        # The highest bit says whether the property is essential; 0 stands for none.
        yield item, [number for number in (n & (0x7FFF if wide_index else 0x7F) for n in numbers) if number]


def _made_of(iref: bytes, item: int) -> list[int]:
    """Return the items that a derived item is made from, in their order."""
    if not iref:
        return []
    size = 4 if iref[0] else 2
    for kind, content in _boxes(iref[4:]):
        if kind == b"dimg" and int.from_bytes(content[:size], "big") == item:
            ids = content[size + 2 :]
            return [int.from_bytes(ids[i : i + size], "big") for i in range(0, len(ids), size)]
    return []


def _of_track(moov: bytes) -> Cicp | None:
    """Return the code points of a sequence's first track."""
    for kind, trak in _boxes(moov):
        if kind == b"trak":
            content = trak
            for name in (b"mdia", b"minf", b"stbl", b"stsd"):
                content = dict(_boxes(content)).get(name, b"")
            for _, entry in _boxes(content[8:]):
                return _decisive([box for name, box in _boxes(entry[_SAMPLE_ENTRY:]) if name == b"colr"])
    return None


def _decisive(colours: list[bytes]) -> Cicp | None:
    """Return the code points in the content of `colr` boxes; None where there is an ICC profile, which goes first."""
    kinds = [content[:4] for content in colours]
    if b"prof" in kinds or b"rICC" in kinds or b"nclx" not in kinds:
        return None
    primaries, transfer = struct.unpack(">HH", colours[kinds.index(b"nclx")][4:8])
    return Cicp(primaries, transfer)  # decoders undo the matrix and the range


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and content of the boxes in `data`; nothing more where one does not fit."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        elif size == 0:
            size = len(data) - at
        if size < head or at + size > len(data):
            return
        yield kind, data[at + head : at + size]
        at += size


def _top_boxes(stream: Stream, wanted: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the boxes of a file that are wanted, without reading the others."""
    end = stream.seek(0, 2)
    at = 0
    while at + 8 <= end:
        stream.seek(at)
        size, kind = struct.unpack(">I4s", stream.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", stream.read(8))[0], 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        if kind in wanted:
            yield kind, stream.read(min(size - head, _MOST))
        at += size


class _Bits:
    """Reads a JPEG XL header: bits from the lowest of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        """Return an unsigned number of `count` bits.

        Raises:
            EOFError: there are not that many.
        """
        if count > self._left:
            raise EOFError
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choice(self, *ways: tuple[int, int]) -> int:
        """Return a number of the kind U32: two bits choose one of four (offset, bits)."""
        offset, count = ways[self.read(2)]
        return offset + self.read(count)

    def enum(self) -> int:
        return self.choice((0, 0), (1, 0), (2, 4), (18, 6))


def _of_jxl(stream: Stream) -> Cicp | None:
    bits = _Bits(_codestream(stream)[len(_JXL) :])
    _skip_size(bits)
    if bits.read(1):  # all that follows has its default: sRGB
        return None
    if bits.read(1):
        _skip_extra(bits)
    _skip_depth(bits)
    bits.read(1)
    for _ in range(bits.choice((0, 0), (1, 0), (2, 4), (1, 12))):
        _skip_channel(bits)
    bits.read(1)
    return _jxl_colours(bits)


def _codestream(stream: Stream) -> bytes:
    """Return the start of a JPEG XL codestream, which may be in a box, or in several."""
    stream.seek(0)
    if stream.read(len(_JXL)) == _JXL:
        stream.seek(0)
        return stream.read(1024)
    parts = [content[4:] if kind == b"jxlp" else content for kind, content in _top_boxes(stream, (b"jxlc", b"jxlp"))]
    return b"".join(parts)[:1024]


def _jxl_colours(bits: _Bits) -> Cicp | None:
    if bits.read(1) or bits.read(1):  # sRGB, or an ICC profile follows
        return None
    space = bits.enum()
    primaries = 2
    if space != _XYB:
        if bits.enum() == _CUSTOM:  # the white
            _skip_points(bits, 1)
        if space != _GRAY:
            primaries = bits.enum()
            if primaries == _CUSTOM:
                _skip_points(bits, 3)
    if bits.read(1):  # a gamma value
        return None
    tags = Cicp(primaries, bits.enum())
    return tags if tags.is_hdr else None


def _skip_points(bits: _Bits, count: int) -> None:
    for _ in range(2 * count):
        bits.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21))


def _skip_size(bits: _Bits) -> None:
    small = bits.read(1)

    def side() -> None:
        if small:
            bits.read(5)
        else:
            bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    side()
    if bits.read(3) == 0:
        side()


def _skip_extra(bits: _Bits) -> None:
    """Skip orientation, intrinsic size, preview and animation."""
    bits.read(3)
    if bits.read(1):
        _skip_size(bits)
    if bits.read(1):
        ways = ((16, 0), (32, 0), (1, 5), (33, 9)) if bits.read(1) else ((1, 6), (65, 8), (321, 10), (1345, 12))
        bits.choice(*ways)
        if bits.read(3) == 0:
            bits.choice(*ways)
    if bits.read(1):
        bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
        bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
        bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
        bits.read(1)


def _skip_depth(bits: _Bits) -> None:
    if bits.read(1):
        bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.read(4)
    else:
        bits.choice((8, 0), (10, 0), (12, 0), (1, 6))


def _skip_channel(bits: _Bits) -> None:
    """Skip the description of an extra channel."""
    if bits.read(1):  # alpha, 8 bits
        return
    kind = bits.enum()
    _skip_depth(bits)
    bits.choice((0, 0), (3, 0), (4, 0), (1, 3))
    bits.read(8 * bits.choice((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == 0:
        bits.read(1)
    elif kind == 2:  # spot colour
        bits.read(4 * 16)
    elif kind == 5:  # colour filter array
        bits.choice((1, 0), (0, 2), (3, 4), (19, 8))
