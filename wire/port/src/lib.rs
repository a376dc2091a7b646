//! Raw packet input and output behind one small trait, and its backends: AF_PACKET with recvmmsg and sendmmsg (the
//! default), pnet's datalink channel (the plain reference), and memory (tests).
