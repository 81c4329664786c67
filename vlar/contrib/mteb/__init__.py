"""mteb, the embedding benchmark: models of vlar in it, and tasks over a labelled folder or table.

``mteb.evaluate(VlarEncoder("lite"), own_tasks("videos/"))`` runs offline. Frames come through
vlar's reader, so torchcodec is not needed.
"""

from vlar.contrib.mteb.encoder import SAMPLERS, VlarEncoder
from vlar.contrib.mteb.run import KINDS, TaskRun, run_named, run_tasks
from vlar.contrib.mteb.tasks import OwnClips, own_tasks, read_own

__all__ = [
    "KINDS",
    "SAMPLERS",
    "OwnClips",
    "TaskRun",
    "VlarEncoder",
    "own_tasks",
    "read_own",
    "run_named",
    "run_tasks",
]
