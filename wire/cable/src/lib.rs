//! Rules of a cable: what it does to a frame is a hash of seed, cable, direction and frame index.
