"""Names of the files and folders in a results folder."""

LEDGER_NAME = "ledger.sqlite"
RECORDS = "records.csv"
SUMMARY = "summary.csv"
BD = "bd.csv"
EARLIER_BD = "bd-earlier.csv"
PLOTS = "plots"
PROVENANCE = "provenance.json"
