"""What the viewer reports of a drawing, as server-sent events."""

from __future__ import annotations

import json

from filterscope.atlas.gallery.data import Data, round_number, thin_curve
from filterscope.sides import as_size
from filterscope.viewer.jobs import ENDS, Job


def describe_job(job: Job, ahead: int) -> tuple[str, Data]:
    """The event that reports a job's state."""
    if job.state == "done" and job.found is not None:
        return "done", job.found
    if job.state == "done":
        rows = [
            {
                "file": f"/_live/jobs/{job.id}/{i}.png",
                "alpha": None if p.transparency is None else f"/_live/jobs/{job.id}/{i}.alpha.png",
                "status": p.status,
                "recipe": p.recipe.name,
                "seed": p.seed,
                "steps": p.recipe.steps,
                "size": as_size(*p.image.shape[:2]),
                "seconds": round(p.seconds, 2),
                "curve": thin_curve(p.curve),
                **{k: round_number(v) for k, v in p.scores.record().items() if k != "top_unit"},
            }
            for i, p in enumerate(job.pictures)
        ]
        return "done", {"pictures": rows}
    if job.state in ENDS:
        return job.state, {"message": job.message}
    steps = job.recipe.steps if job.recipe else 0
    state = {"state": job.state, "ahead": ahead, "step": job.step, "steps": steps}
    return "progress", {**state, "attempt": job.attempt, "activation": round_number(job.activation)}


def format_event(name: str, data: Data) -> str:
    """A server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n"
