//! Ids, frame views and builders, flow keys, the shim and control formats, the probe signature.
