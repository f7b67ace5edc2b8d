"""The HTML report of a results folder: one file, no server, no network."""

from rdbench.report.page import ReportError, write_report

__all__ = ["ReportError", "write_report"]
