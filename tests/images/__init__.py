"""A new medium in one folder: small grey pictures. The rest of the house is not told of it but by a line in the
registry's table, which `tests/test_new_medium.py` adds."""
