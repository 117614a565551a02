"""A job is a folder that contains its complete state.

::

    job.json      settings of the run; never rewritten
    events.jsonl  events of the run, one JSON object per line; append-only
    status.json   latest state and heartbeat; replaced atomically
    control/      requests, as files: ``cancel``, ``pause``, ``resume``, ``checkpoint_now``
    checkpoints/  artifacts/  log.txt

`JobPaths` lists all files. The job process writes them; other processes read them and create
requests in ``control``. ``resume`` is handled by `start_next`, because the job process has ended.
Writers hold a lock on the file ``lock``, so that a job cannot be started twice. Nothing here
imports torch.
"""
