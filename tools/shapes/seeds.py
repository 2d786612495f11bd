"""Which seeds draw which pictures. The ranges never meet."""

from typing import Final

TEST_SEEDS: Final = range(300)
CHECK_SEEDS: Final = range(500, 600)
SMALL_TRAINING_SEEDS: Final = range(1_000_000, 1_012_000)
LARGE_TRAINING_SEEDS: Final = range(2_000_000, 2_005_000)
SMALL_SIDE_PX: Final = 320
LARGE_SIDE_PX: Final = 640
