"""Versatile Video Coding (VVC, ITU-T H.266) used as a still-image codec: one format, two encoders.

`vtm.VTM` is the reference software of the standard, the anchor of most publications. `vvenc.VVenC` is
Fraunhofer HHI's fast encoder, which is another encoder with another quantisation behaviour: at one QP the two
make different files, so a legend names the one that made it.

Both write a plain ``.266`` byte stream. It carries no checksum (VVC's optional picture hash costs 58 bytes,
which published curves do not pay): lost picture data is noticed, a flipped bit mostly but not always.
"""
