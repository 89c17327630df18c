"""The trainer of timm's classifiers.

This package has the library's name: its modules import absolutely, so that ``import timm`` is the library.
"""
