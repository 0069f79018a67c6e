"""The command line.

Reading order: `app` (what commands there are), `boundary` (how errors end), `output` (what is printed where), `options`
and `place` (what commands share), then a file for each group of commands.
"""
