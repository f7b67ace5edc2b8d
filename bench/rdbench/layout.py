"""Names of the files and folders in a results folder."""

LEDGER_NAME = "ledger.sqlite"
RECORDS = "records.csv"
SUMMARY = "summary.csv"
BD = "bd.csv"
PLOTS = "plots"
PROVENANCE = "provenance.json"
