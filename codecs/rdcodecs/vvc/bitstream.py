"""Read a picture's size from a VVC byte stream, and note in it the size of a picture with odd sides.

The syntax is that of Rec. ITU-T H.266: byte stream in Annex B, NAL unit header in 7.3.1.2, sequence parameter
set (SPS) in 7.3.2.4, profile, tier and level in 7.3.3.1, general constraints in 7.3.3.2.

A 4:2:0 stream crops in steps of two luma samples, so it has no way to say that a picture is 101 pixels wide.
Such a picture is coded at 102, and `mark_odd` puts a NAL unit of type UNSPEC_28 first, which the standard
leaves to applications and every decoder skips: 6 bytes, of which one carries the two parities. An even
picture has none. (First, not last: a truncated stream must not lose it and decode all the same.)
"""

import re
from dataclasses import dataclass
from typing import Final

from rdcodecs.codec import StreamError, check_pixels

_START_CODE = b"\x00\x00\x01"
_SPS_TYPE = 15
_ODD_MARK_TYPE = 28
_SLICE_TYPES = range(12)
_CHROMA_FORMATS: Final = {0: 400, 1: 420, 2: 422, 3: 444}
# gci_present_flag is followed by this many one-purpose bits before gci_num_additional_bits.
_CONSTRAINT_BITS = 71
# Longer codes of ue(v) are not of 32 bits, and so of no number in the standard.
_LONGEST_GOLOMB = 32
# Of an SPS what comes before the size takes less: up to 256 sub-profiles of 4 bytes each.
_SPS_BYTES = 2048


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says of its picture.

    Attributes:
        width: in pixels, after cropping.
        height: in pixels, after cropping.
        chroma: 400, 420, 422 or 444.
        odd_width: whether the last column is padding, to be cut off after decoding.
        odd_height: whether the last row is padding, to be cut off after decoding.
    """

    width: int
    height: int
    chroma: int
    odd_width: bool = False
    odd_height: bool = False


def read_info(data: bytes) -> StreamInfo:
    """Read the picture's size and chroma format from a VVC byte stream.

    Args:
        data: the whole ``.266`` file.

    Raises:
        StreamError: it is empty, not VVC, ends before its first picture, or codes pictures larger than
            `rdcodecs.codec.max_pixels`.
    """
    if not data:
        raise StreamError("the stream is empty")
    units = _split(data)
    types = [unit[1] >> 3 for unit in units]
    if _SPS_TYPE not in types:
        raise StreamError("not a VVC stream: it has no sequence parameter set")
    if not any(kind in _SLICE_TYPES for kind in types):
        raise StreamError("the VVC stream is truncated: it has no picture")
    sets = [_read_sps(_Bits(_payload(unit[:_SPS_BYTES]))) for unit in units if unit[1] >> 3 == _SPS_TYPE]
    width, height, chroma = sets[0]
    odd_width = odd_height = False
    if _ODD_MARK_TYPE in types:
        mark = _Bits(_payload(units[types.index(_ODD_MARK_TYPE)]))
        odd_width, odd_height = bool(mark.read(1)), bool(mark.read(1))
    return StreamInfo(width, height, chroma, odd_width, odd_height)


def mark_odd(data: bytes, *, odd_width: bool, odd_height: bool) -> bytes:
    """Note in a stream that its last column or row is padding. Nothing is added where neither is."""
    if not (odd_width or odd_height):
        return data
    header = bytes([0, _ODD_MARK_TYPE << 3 | 1])
    # Two flags and the stop bit that ends every payload, so that the unit never ends in a zero byte.
    payload = bytes([odd_width << 7 | odd_height << 6 | 1 << 5])
    return _START_CODE + header + payload + data


def _split(data: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream that have at least a header and one byte."""
    parts = data.split(_START_CODE)[1:]
    # Zeros at the end belong to the next start code.
    return [part for part in (part.rstrip(b"\x00") for part in parts) if len(part) > 2]


def _payload(unit: bytes) -> bytes:
    """Strip a unit's header and its emulation prevention bytes."""
    return re.sub(rb"\x00\x00\x03", b"\x00\x00", unit[2:])


class _Bits:
    """Reads a payload bit by bit, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._length = 8 * len(data)
        self._position = 0

    def read(self, count: int) -> int:
        """Read an unsigned number of `count` bits: u(n)."""
        self._position += count
        if self._position > self._length:
            raise StreamError("the VVC stream is damaged: its sequence parameter set ends early")
        return self._value >> (self._length - self._position) & ((1 << count) - 1)

    def read_golomb(self) -> int:
        """Read an unsigned Exp-Golomb number: ue(v)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _LONGEST_GOLOMB:
                raise StreamError("the VVC stream is damaged: its sequence parameter set has a number of over 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)

    def align(self) -> None:
        """Go on to the next whole byte."""
        self._position += -self._position % 8


def _read_sps(bits: _Bits) -> tuple[int, int, int]:
    bits.read(4)  # sps_seq_parameter_set_id
    bits.read(4)  # sps_video_parameter_set_id
    max_sublayers_minus1 = bits.read(3)
    chroma = _CHROMA_FORMATS[bits.read(2)]
    bits.read(2)  # sps_log2_ctu_size_minus5
    if bits.read(1):  # sps_ptl_dpb_hrd_params_present_flag
        _skip_profile_tier_level(bits, max_sublayers_minus1)
    bits.read(1)  # sps_gdr_enabled_flag
    if bits.read(1):  # sps_ref_pic_resampling_enabled_flag
        bits.read(1)  # sps_res_change_in_clvs_allowed_flag
    width, height = bits.read_golomb(), bits.read_golomb()
    check_pixels(width, height, StreamError, "the VVC stream's picture")  # a decoder has it whole before it crops
    if bits.read(1):  # sps_conformance_window_flag
        left, right, top, bottom = (bits.read_golomb() for _ in range(4))
        width -= (left + right) * (2 if chroma in (420, 422) else 1)
        height -= (top + bottom) * (2 if chroma == 420 else 1)
    if width <= 0 or height <= 0:
        raise StreamError(f"the VVC stream is damaged: its size reads {width}x{height}")
    return width, height, chroma


def _skip_profile_tier_level(bits: _Bits, max_sublayers_minus1: int) -> None:
    bits.read(7 + 1)  # general_profile_idc, general_tier_flag
    bits.read(8)  # general_level_idc
    bits.read(1 + 1)  # ptl_frame_only_constraint_flag, ptl_multilayer_enabled_flag
    if bits.read(1):  # gci_present_flag
        bits.read(_CONSTRAINT_BITS)
        bits.read(bits.read(8))  # gci_num_additional_bits, and those
    bits.align()
    levels = sum(bits.read(1) for _ in range(max_sublayers_minus1))  # ptl_sublayer_level_present_flag[i]
    bits.align()
    bits.read(8 * levels)  # sublayer_level_idc[i]
    bits.read(32 * bits.read(8))  # ptl_num_sub_profiles, general_sub_profile_idc[i]
