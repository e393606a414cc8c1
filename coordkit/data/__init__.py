"""The data of the two workflows: generators for any size, and readers that say what is wrong."""

from coordkit.data.files import DataError
from coordkit.data.generate_billing import generate_billing
from coordkit.data.generate_support import generate_support
from coordkit.data.tables import read_billing, read_support, write_dataset

__all__ = [
    "DataError",
    "generate_billing",
    "generate_support",
    "read_billing",
    "read_support",
    "write_dataset",
]
