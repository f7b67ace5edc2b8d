"""The paper's figures and its claims beside what was measured, from the records of one results folder."""
