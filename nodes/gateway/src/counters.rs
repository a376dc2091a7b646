//! What a gateway counts: everything by name, every drop by reason, and the fate of each frame.

use std::collections::BTreeMap;

/// Declares an enum whose variants have names for people, and an array of counters over it.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in status and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Why a frame was dropped.
    Reason {
        /// It cannot be read.
        Malformed = "malformed",
        /// The checksum of its IPv4 header is wrong, or that of an ICMP error.
        BadChecksum = "bad-checksum",
        /// It is neither IP nor ARP.
        UnknownEthertype = "unknown-ethertype",
        /// An internal cable brought a frame without the shim.
        NoShim = "no-shim",
        /// It belongs to another Security Group.
        ForeignGroup = "foreign-group",
        /// It is meant for another node.
        NotForMe = "not-for-me",
        /// It is on its way to an uplink, and came to a member.
        WrongWay = "wrong-way",
        /// A control message that cannot be decoded.
        BadControl = "bad-control",
        /// This member is fenced.
        Fenced = "fenced",
        /// A correction or handover of a life that is not admitted.
        NotAdmitted = "not-admitted",
        /// It was passed on as often as is allowed.
        HopLimit = "hop-limit",
        /// No matrix says whose it is.
        NoMatrix = "no-matrix",
        /// A piece of a packet whose first piece did not come, of one without ports, or of one to the cluster itself,
        /// which puts none together.
        Fragment = "fragment",
        /// IP broadcast or multicast, or an ICMP error about such a packet.
        Broadcast = "broadcast",
        /// A message of neighbour discovery that RFC 4861 says to discard, or one about routers.
        Discovery = "neighbour-discovery",
        /// A transport that is not tracked.
        Untracked = "untracked-protocol",
        /// An ICMP error that fits no connection by its form (its quote is cut short, of another protocol, of another error,
        /// of a packet that did not come from whom the error goes to), or of a kind that nobody forwards (redirect, source
        /// quench).
        IcmpError = "icmp-error",
        /// For an address of the cluster itself, and not an echo request.
        Local = "local-not-served",
        /// The policy does not accept it.
        Policy = "policy-drop",
        /// Its source does not live where it entered: answers would leave elsewhere, or it is not whose it says.
        Spoofed = "spoofed-source",
        /// There is no route.
        NoRoute = "no-route",
        /// This member's NAT ports are all in use.
        NatPorts = "nat-ports-exhausted",
        /// The connection table is full.
        TableFull = "table-full",
        /// Another connection has its return tuple.
        TupleInUse = "tuple-in-use",
        /// It is not a first packet, and nobody knows its connection.
        OutOfState = "out-of-state",
        /// TCP flags that do not fit the connection's state.
        TcpState = "tcp-state",
        /// It entered at a network where its connection is not.
        WrongNetwork = "wrong-network",
        /// It is larger than the network that it leaves to takes, and may not be broken.
        TooBig = "too-big",
        /// Its TTL ran out.
        Ttl = "ttl-expired",
        /// The next hop did not answer ARP or neighbour discovery.
        Neighbour = "neighbour-unresolved",
        /// Too many frames wait.
        QueueFull = "queue-full",
        /// It waited for an Activate that did not come.
        ActivateLate = "activate-late",
        /// It waited for a generation that did not come.
        GenerationLate = "generation-late",
        /// A first packet of a bucket whose move did not complete in time.
        MoveIncomplete = "move-incomplete",
        /// The port it must leave by is down.
        PortDown = "port-down",
        /// Traffic for the cluster, at a member that is not the pivot.
        NotPivot = "not-pivot",
        /// For a MAC that is not this member's.
        NotMyMac = "not-my-mac",
    }
}

named! {
    /// What is counted beside drops.
    Count {
        /// Frames that came in.
        FramesIn = "frames_in",
        /// Of them: sent on, changed or not.
        Sent = "frames_sent",
        /// Of them: control, ARP, neighbour discovery, reports of who listens to which group.
        Consumed = "frames_consumed",
        /// Packets of connections that this member owns, sent on.
        Processed = "processed",
        /// Of them: ICMP errors about such connections.
        IcmpErrors = "icmp_errors",
        /// Pieces of packets that took the way of their first piece.
        Pieces = "pieces",
        /// Corrections that came in.
        CorrectedIn = "corrected_in",
        /// Corrections sent.
        CorrectedOut = "corrected_out",
        /// Of them: to the previous owner of a bucket in a planned move.
        ToPrevious = "to_previous",
        /// Of them: handed back by a previous owner.
        HandedBack = "handed_back",
        /// Handovers that came in.
        HandoverIn = "handover_in",
        /// Handovers sent.
        HandoverOut = "handover_out",
        /// Connections created.
        Created = "created",
        /// Connections ended.
        Deleted = "deleted",
        /// Connections of a lost owner that this member took over.
        TakenOver = "taken_over",
        /// Copies that turned out to be unknown to their owner.
        StaleCopies = "stale_copies",
        /// Queries sent.
        Queries = "queries",
        /// Unknown tuples that a query found.
        QueryHits = "query_hits",
        /// Sync messages sent, the first time.
        SyncTxMessages = "sync_tx_messages",
        /// Bytes of all sync frames sent, acknowledgements among them.
        SyncTxBytes = "sync_tx_bytes",
        /// Connection entries sent.
        SyncTxEntries = "sync_tx_entries",
        /// Sync messages sent again.
        SyncResent = "sync_resent",
        /// Items that found the stream's queue full.
        SyncOverflow = "sync_overflow",
        /// Entries that came in.
        SyncRxEntries = "sync_rx_entries",
        /// Of them: not newer than what is known.
        SyncRxOld = "sync_rx_old",
        /// Of them: in conflict with a connection that is owned here.
        SyncRxConflict = "sync_rx_conflict",
        /// Sync messages for another life, or from one that is not admitted.
        SyncRxStale = "sync_rx_stale",
        /// Walks over the table after a change of the matrix.
        Walks = "walks",
        /// Connections they saw.
        Walked = "walked",
        /// Connections that they synced again.
        Resynced = "resynced",
        /// ARP requests answered.
        ArpAnswered = "arp_answered",
        /// ARP requests sent.
        ArpAsked = "arp_asked",
        /// Neighbour solicitations answered.
        NdAnswered = "nd_answered",
        /// Neighbour solicitations sent.
        NdAsked = "nd_asked",
        /// Rounds of gratuitous ARP and unsolicited neighbour advertisements.
        Announced = "garp_tx",
        /// Echo requests to the cluster answered.
        EchoAnswered = "echo_answered",
        /// Messages sent that a packet is too big, or needs fragmentation.
        TooBig = "too_big",
        /// Pieces that packets were broken into here.
        Broken = "fragments_made",
        /// Time exceeded messages sent.
        TimeExceeded = "time_exceeded",
        /// A joiner asked again, since not everybody had answered it.
        WantTimeouts = "want_timeouts",
    }
}

/// What becomes of a frame that came in: exactly one of these.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It left, or an answer to it did.
    Sent,
    /// It was for this node itself.
    Consumed,
    /// It waits in a bounded queue.
    Waits,
    /// It is gone.
    Dropped(Reason),
}

/// All counters.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    counts: [u64; Count::ALL.len()],
    drops: [u64; Reason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { counts: [0; Count::ALL.len()], drops: [0; Reason::ALL.len()] }
    }
}

impl Counters {
    pub(crate) fn add(&mut self, count: Count, by: u64) {
        self.counts[count as usize] += by;
    }

    pub(crate) fn one(&mut self, count: Count) {
        self.add(count, 1);
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, reason: Reason) -> u64 {
        self.drops[reason as usize]
    }

    pub(crate) fn settle(&mut self, fate: Fate) {
        match fate {
            Fate::Sent => self.one(Count::Sent),
            Fate::Consumed => self.one(Count::Consumed),
            Fate::Waits => {}
            Fate::Dropped(reason) => self.drops[reason as usize] += 1,
        }
    }

    /// Frames in that are accounted for, but for those that wait.
    pub(crate) fn settled(&self) -> u64 {
        self.get(Count::Sent) + self.get(Count::Consumed) + self.drops.iter().sum::<u64>()
    }

    /// Every counter by name.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        Count::ALL.iter().map(|&count| (count.name().to_owned(), self.get(count))).collect()
    }

    /// Drops by reason; reasons that never applied are left out.
    pub(crate) fn drops(&self) -> BTreeMap<String, u64> {
        let all = Reason::ALL.iter().map(|&reason| (reason.name().to_owned(), self.drops[reason as usize]));
        all.filter(|(_, frames)| *frames > 0).collect()
    }
}
