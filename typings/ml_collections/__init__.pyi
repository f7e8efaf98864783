"""Types of the part of ml_collections that is used here; its own source says nothing of a field's type."""

from ml_collections import config_dict as config_dict
from ml_collections import config_flags as config_flags
from ml_collections.config_dict import ConfigDict as ConfigDict
