"""Video files to clips: frames with their presentation times.

``find_videos`` names them, ``probe`` reads the metadata of one, ``windows`` cuts its time,
``read_clip``, ``read_windows`` and ``read_clips`` give frames, ``check_video`` and ``check_videos``
find damage.
"""
