//! Every verdict and metric, packet classes and the ledger. Imports no node code.
