"""What does every training stand on? The store before a moment: catalogue, texts, history, and where examples begin."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from encoders.card import JSON_CARD, card_of
from encoders.beside import Training, training
from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.text import attributes_read, item_texts
from encoders.train import EncoderConfig
from ingest import columns as c
from ingest.outbox import Outbox
from ingest.progress import Progress
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker.catalogue import Catalogue
from ranker.errors import NothingToLearnError
