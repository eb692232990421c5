"""The hot path, compiled: modules of ``_streams`` from the very same source, with the types that stand here in ``.pxd`` files.

Nothing is written twice, and without a compiler the source itself runs; ``_streams/hot.py`` chooses.
"""
