"""The sans-IO half: values in, values out; nothing here awaits, and nothing here imports anyio."""
