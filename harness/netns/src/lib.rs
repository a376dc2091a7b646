//! Namespaces, veth pairs, the lifeline, taps.
