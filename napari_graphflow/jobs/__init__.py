"""A job is a folder, and the folder is the whole truth about it.

::

    job.json      what was asked; never rewritten
    events.jsonl  what happened, one JSON object a line; only ever appended to
    status.json   the last state and a heartbeat; replaced as a whole
    control/      ``cancel``, ``pause``, ``resume``, ``checkpoint_now``: files anyone may create
    checkpoints/  artifacts/  log.txt

`JobPaths` names all that there is. The job process writes, everybody else reads and leaves requests
in ``control``. ``resume`` is read by `start_next`, because the job is not there to obey it. Whoever
writes holds the lock on the file ``lock``, so two windows cannot start the same job. Nothing here
loads torch.
"""
