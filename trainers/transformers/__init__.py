"""The trainer for Hugging Face transformers: image classification and object detection, from a model's architecture.

This package has the library's name: its modules import absolutely, so that ``import transformers`` is the library.
"""
