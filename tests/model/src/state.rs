//! What the model's nodes are, and what is under way between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use scalebed_cluster::pieces::Held;
use scalebed_distribution::matrix;
use scalebed_frame::control::{Admitted, Matrix};
use scalebed_frame::{Generation, Incarnation, MemberId, MhoId, NodeId};

use crate::{Agreement, BUCKETS};

/// What a node's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// It runs. That it does nothing for a while needs no word of its own.
    Runs,
    /// It stands still, for over 2.5 units already.
    Stopped,
    /// It is gone for good.
    Dead,
}

/// What an author is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// No author.
    None,
    /// It takes over: who has not answered yet, a bit a node; what it announced to them; the proposal that is the highest
    /// found so far.
    Reading {
        /// Who.
        open: u8,
        /// What.
        announced: Generation,
        /// Which.
        best: usize,
    },
    /// It authors what it holds.
    Leads,
}

/// A member or an orchestrator.
#[derive(Clone, Debug)]
pub struct Node {
    /// Who.
    pub id: NodeId,
    /// In which life.
    pub life: Incarnation,
    /// Does it run?
    pub process: Process,
    /// Owns, forwards and authors nothing.
    pub fenced: bool,
    /// The engine's acceptor.
    pub held: Arc<Held>,
    /// Its part as an author.
    pub role: Role,
    /// Planned moves to it whose list is complete: the generation that moved, and from whom.
    pub complete: BTreeSet<(Generation, MemberId)>,
    /// Buckets of whose connections it has some of its own, a bit a bucket: those that it, in this life, began or was given.
    pub holds: u8,
}

impl Node {
    fn new(id: NodeId) -> Self {
        Self {
            id,
            life: Incarnation(1),
            process: Process::Runs,
            fenced: true,
            held: Arc::new(Held::new()),
            role: Role::None,
            complete: BTreeSet::new(),
            holds: 0,
        }
    }

    /// Runs, and is not fenced.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.process == Process::Runs && !self.fenced
    }

    /// This life of a member.
    #[must_use]
    pub fn me(&self) -> Admitted {
        Admitted { member: self.member(), incarnation: self.life }
    }

    /// The member's id; of an orchestrator nobody's.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.id.member().unwrap_or(MemberId::new(0, 0))
    }

    /// Is it an orchestrator?
    #[must_use]
    pub fn is_mho(&self) -> bool {
        self.id.mho().is_some()
    }
}

/// A matrix that was sent. Its Prepare, and its Activate once that was sent, may arrive at any time from then on, or never.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The matrix.
    pub matrix: Arc<Matrix>,
    /// Its digest.
    pub digest: u64,
    /// Who has acked, a bit a node.
    pub acked: u8,
    /// Was Activate sent?
    pub activated: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// Members first, then orchestrators. States share those in which they do not differ.
    pub nodes: Vec<Arc<Node>>,
    /// In the order in which they were made; the first is there from the start.
    pub proposals: Vec<Proposal>,
    /// One-way cuts of heartbeats: bit `5 * from + to`.
    pub cuts: u32,
    /// Faults that may still come.
    pub faults: u8,
    /// A life that an acceptor accepted although it saw it left out.
    pub ended_admitted: Option<Admitted>,
}

pub(crate) fn member(number: usize) -> MemberId {
    MemberId::new(1, u8::try_from(number).unwrap_or(0))
}

impl State {
    /// Generation 1 of the first member is active everywhere; whoever is not in it waits to be admitted.
    #[must_use]
    pub fn start(model: &Agreement) -> Self {
        let mhos = if model.is_maestro() { 2 } else { 0 };
        let ids = (1..=model.bounds.members).map(|number| NodeId::from(member(number)));
        let mut nodes: Vec<Node> = ids.chain((1..=mhos).map(|mho| NodeId::from(MhoId(mho)))).map(Node::new).collect();
        let admitted: Vec<Admitted> = nodes.iter().take(model.bounds.admitted).map(Node::me).collect();
        let orchestrators: Vec<_> = (1..=mhos).map(|mho| (MhoId(mho), Incarnation(1))).collect();
        let author = model.bounds.author - 1;
        let first = Generation { counter: 1, author: admitted[author].member, incarnation: Incarnation(1) };
        let matrix = Arc::new(matrix::first(first, BUCKETS, &admitted, &orchestrators));
        for node in &mut nodes {
            if node.is_mho() || admitted.contains(&node.me()) {
                let mut held = Held::new();
                held.prepare(&matrix);
                held.activate(first);
                (node.held, node.fenced) = (Arc::new(held), false);
            }
        }
        nodes[author].role = Role::Leads;
        let digest = matrix::digest(&matrix);
        let nodes = nodes.into_iter().map(Arc::new).collect();
        let proposals = vec![Proposal { matrix, digest, acked: u8::MAX, activated: true }];
        let mut state = Self { nodes, proposals, cuts: 0, faults: model.bounds.faults, ended_admitted: None };
        model.begin(&mut state);
        state
    }

    /// A node, to be changed.
    pub fn node_mut(&mut self, place: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[place])
    }

    /// Did an active generation admit this life, and a later active one leave it out? What was never active bound nobody.
    #[must_use]
    pub fn left_out(&self, one: Admitted) -> bool {
        let active = || self.proposals.iter().filter(|proposal| proposal.activated).map(|proposal| &proposal.matrix);
        let admits = active().filter(|matrix| matrix.admitted.contains(&one)).map(|matrix| matrix.generation).min();
        let leaves_out =
            active().filter(|matrix| !matrix.admitted.contains(&one)).map(|matrix| matrix.generation).max();
        admits.is_some_and(|admits| leaves_out.is_some_and(|leaves_out| admits < leaves_out))
    }

    /// Is there no cut from one to the other?
    #[must_use]
    pub const fn reaches(&self, from: usize, to: usize) -> bool {
        self.cuts >> (5 * from + to) & 1 == 0
    }

    /// Makes one.
    pub const fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.cuts |= 1 << (5 * from + to);
        }
    }

    /// Does `observer` hear heartbeats of `subject`?
    #[must_use]
    pub fn hears(&self, observer: usize, subject: usize) -> bool {
        observer != subject && self.nodes[subject].process == Process::Runs && self.reaches(subject, observer)
    }

    /// The places of members.
    pub fn members(&self) -> std::ops::Range<usize> {
        0..self.nodes.iter().filter(|node| !node.is_mho()).count()
    }

    /// The places of orchestrators.
    pub fn orchestrators(&self) -> impl Iterator<Item = usize> + use<> {
        self.members().end..self.nodes.len()
    }

    /// The place of a member.
    #[must_use]
    pub fn place(&self, member: MemberId) -> usize {
        usize::from(member.number).saturating_sub(1)
    }
}
