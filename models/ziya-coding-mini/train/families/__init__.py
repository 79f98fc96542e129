"""All task families, by id."""
from . import lists, numbers, sorting, strings, structures  # noqa: F401  (each registers its families)
from .base import REGISTRY as FAMILIES
from .base import Family

__all__ = ["FAMILIES", "Family"]
