"""Lossless coding of integers for the learned codecs: frequency tables, and a range coder over them."""

from rdcodecs.entropy.coder import Decoder, Encoder
from rdcodecs.entropy.tables import FrequencyTables, counted_tables, gaussian_tables, uniform_table

__all__ = ["Decoder", "Encoder", "FrequencyTables", "counted_tables", "gaussian_tables", "uniform_table"]
