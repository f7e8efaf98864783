"""The experiments that come along: `--config NAME` names one, and each is a start for your own."""
