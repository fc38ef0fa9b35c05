"""The attacks, one file a kind: the file's name is what `attack:` in a config says.

A file holds one subclass of `AttackSpec`: its settings with their defaults, and `run`. Nothing else has to
know of it. A class of one's own is named `module:Class`.
"""
