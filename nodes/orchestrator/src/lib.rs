//! The MHO: port roles, dispatch, fence, downlink adjacency.
