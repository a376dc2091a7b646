//! Who is alive and who leads: heartbeats, election, matrix agreement, fence and barrier.
