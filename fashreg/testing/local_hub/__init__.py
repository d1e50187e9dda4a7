"""A Hugging Face Hub on 127.0.0.1 for tests of sharing; the standard library is all it needs."""

from fashreg.testing.local_hub.answers import Account, Answer, Request
from fashreg.testing.local_hub.faults import Drop, DropUpload, Edit, Flip, Redirect, Slow, Status, WrongSize
from fashreg.testing.local_hub.pointing import client_of, environment
from fashreg.testing.local_hub.server import LocalHub
from fashreg.testing.local_hub.store import Blob, Commit, Repository

__all__ = [
    "Account",
    "Answer",
    "Blob",
    "Commit",
    "Drop",
    "DropUpload",
    "Edit",
    "Flip",
    "LocalHub",
    "Redirect",
    "Repository",
    "Request",
    "Slow",
    "Status",
    "WrongSize",
    "client_of",
    "environment",
]
