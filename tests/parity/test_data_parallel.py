"""torch's DistributedDataParallel on two workers: the gradients of one worker with all of the batch."""

from data_parallel_job import TABLES, run_two_workers


def test_every_choice_of_tables_has_the_gradients_of_one_worker():
    """With and without a search for unused weights, by plain logits and in blocks."""
    for found, control in run_two_workers():
        assert len(found) == 16
        for (tags, find_unused, kind), (difference, tables) in found.items():
            assert difference < 2e-6, (tags, find_unused, kind)
            assert tables == TABLES[tags]
        assert control > 1e-2
