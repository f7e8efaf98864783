"""How annotations are checked: a whole number passes where a float is wanted, as Python's typing says."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
