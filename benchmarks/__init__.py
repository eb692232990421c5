"""How fast is websocketstream, beside its peers and beside a bare socket? ``python -m benchmarks --help``."""
