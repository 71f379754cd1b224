"""A short version of tools/stress.py: real Snakemake, killed a few times, leaves the records of an undisturbed run."""

import pytest
import stress


@pytest.mark.slow
def test_a_replication_that_is_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path, raw_root):
    said = []
    done = stress.stress(tmp_path, raw_root, kills=2, seed=1, grid=stress.SMALL, tell=said.append)
    assert done.total() == 2, said
