"""Tests on tokenizers, chat templates and a model that others published."""
