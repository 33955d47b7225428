"""The lab's raw HTTP client, where the tests look for it."""

from lab.raw import Answer, Cloud, raw

__all__ = ["Answer", "Cloud", "raw"]
