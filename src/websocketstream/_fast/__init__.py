"""The hot path, compiled: modules of ``_protocol``, ``_network`` and ``_streams`` from the very same source, with the types that stand here in ``.pxd`` files.

Nothing is written twice, and without a compiler the source itself runs; ``_network/hot.py`` and ``_streams/hot.py`` choose.
"""
