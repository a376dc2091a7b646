//! Raw packet input and output behind one small trait, and its backends.
