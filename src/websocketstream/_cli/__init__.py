"""The command line: one module per command, and what they share.

A command is a module with ``add_parser(commands)``, which adds its parser and sets ``run`` among its defaults: an async function
``(arguments) -> exit code``. What goes wrong it raises; :mod:`~websocketstream._cli.main` says it in one sentence. Ctrl-C and
SIGTERM cancel it, unless it sets ``handles_signals=True`` as well.
"""
