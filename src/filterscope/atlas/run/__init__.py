"""Drawing an atlas: requests, chunks, schedules, workers on one machine or on Ray."""
