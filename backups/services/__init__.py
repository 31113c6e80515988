"""The verbs that write: schedules, runs, snapshots."""
