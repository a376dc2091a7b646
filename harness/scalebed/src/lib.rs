//! Plan, apply, run, judge, report: the scalebed command.
