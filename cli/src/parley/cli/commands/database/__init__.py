"""Commands about the log and its schema. `migrate` is a good one to start with.

1. The schema: `migrate` brings it up to date, `migration` writes the next step.
2. What follows from the log: `rebuild` and `verify` projections, `consumers`, and `erase`.
3. The log as a whole: `export_log` and `import_log`; `restored`, after a backup was put back.
"""
