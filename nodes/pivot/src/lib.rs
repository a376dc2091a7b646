//! The ElasticXL member: a gateway plus the pivot's decision, handover and takeover.
