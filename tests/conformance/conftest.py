"""Which files are left out where libclang is missing and may be (recording.py says where, and pytest's header that)."""

from __future__ import annotations

from . import recording

_NEED_LIBCLANG = ["test_binding.py", "test_corpora.py", "test_mutations.py", "test_sources.py", "test_sweep.py"]
collect_ignore = _NEED_LIBCLANG if recording.is_inert() else []
